// Package convention is what happens to packages on a target: it is `octavo-agent tool`, and the form in which
// a server asks for it.
//
// # How a server runs it
//
// A server starts an ordinary script on the agent. Its Bash body is Body(command, version); beside it lie these
// files, which the server sends with the start of the script:
//
//	Octopus.vars        the action's variables, raw, as an array of {"k","v","s"}, sealed (VariableFiles)
//	Octopus.key         the password of Octopus.vars, random, made for this one run (VariableFiles)
//	Octopus.packages    for find-packages, verify-packages, download-packages: []Package as JSON (PackagesFile)
//	Octopus.retention   for clean: []RetentionSet as JSON (RetentionFile)
//
// The command line is `octavo-agent tool COMMAND`; there are no further arguments, so nothing has to be quoted and
// nothing secret can stand in a process list. The working directory is the script's workspace.
//
//	command            does                                                                   rules
//	find-packages      trims the package cache, then says which of Octopus.packages it holds  A5, K26
//	verify-packages    checks what was uploaded against its sum and enters it into the cache  A5
//	download-packages  fetches packages from their Url, then as verify-packages               A5
//	trim-cache         makes room in the package cache                                        K26
//	deploy-package     extracts and installs the action's package                             G1-G12
//	run-script         runs a script step with its packages                                   G13, E1
//	transfer-package   copies the package file to a folder                                    deployments.md 0.4
//	clean              removes old installations, and gives the task's packages free          K20-K25
//
// Exit codes: 0 done; ExitToolMissing the tool is not on this machine; 64 wrong usage; the script's own
// when a script failed; 1 any other failure. What went wrong is on standard error, and as resultMessage.
//
// # Secrets
//
// Octopus.vars is sealed as tentacle-protocol.md 4.4 has it, so that it may pass through logs, retries and temporary
// files of whatever carries it. The key must reach the tool somehow; arguments and environment are visible to others
// (E3), so it lies in a file of its own, in a workspace that belongs to the agent's user. The tool reads both
// and deletes both before it does anything else. From then on values are in memory only; scripts get theirs
// through standard input (package script). Files written by substitution hold clear values on purpose.
//
// # Where the tool is
//
// Our agent exports its own executable's path to scripts as OCTAVO_TOOL; Body uses that. On an unmodified Tentacle
// Body looks for ToolPath(version, platform) below the agent's home. If it is not there the script prints
// the message octavo-tool-missing with platform and path and ends with ExitToolMissing; the server uploads the file to that
// path, then ToolMark(path), which says that the upload is whole, and runs the script again under a new id.
//
// # What the variables must hold
//
// The action's properties under their own names (deployments.md 0.3-0.6), the system variables of
// variables.md 4.1, and for packages:
//
//	Octopus.Action.Package.PackageId, .PackageVersion, .FeedId    of the primary package
//	Octopus.Tentacle.CurrentDeployment.PackageFilePath            where it is: absolute, or below the agent's home (Package.Path)
//	Octopus.Action.Package[ref].PackageId, .PackageVersion, .FeedId, .Extract
//	Octopus.Action.Package[ref].OriginalPath                      as PackageFilePath
//	Octopus.Tentacle.CurrentDeployment.RetentionPolicySet         optional; G11 computes it
//	OctopusAllowLinksInPackages                                   True: archives may hold links that stay inside
//
// From the environment come TentacleHome, TentacleApplications and TentacleJournal, as agents set them.
//
// # What it says
//
// Besides text: setVariable (output variables), resultMessage, and
//
//	foundPackage            id version versionFormat hash remotePath fileExtension     in the cache, sum checked
//	octavo-package-missing  id version path                                            upload it to path (below the home)
//
// # The order of a deployment
//
// Each line is one entry of the list in deploy.go (deployments.md G2); any may end the list by failing, or by
// SkipRemainingConventions (G10):
//
//	already-installed check -> extract -> PreDeploy scripts -> files: substitute, transforms, .NET variables, structured
//	-> copy to custom directory -> Deploy scripts -> PostDeploy scripts -> journal: success
//	any failure -> DeployFailed scripts -> journal: failed
//
// # Where we differ on purpose
//
//	structured files   changed in place; they are not written anew with two spaces, and comments in JSON stay
//	env:NAME           the machine's environment is readable as variables, but changes no structured file
//	K22                the newest successful installation stays whatever its age: it is what runs
//	scripts            Bash and Python; PowerShell and C# are refused with a line that names the tool
//
// # Files of our own on a target
//
//	<TentacleJournal>             installations (G9); replaced whole, under <TentacleJournal>.lock
//	<home>/Files/                 the package cache; names as in tentacle-protocol.md 2.10
//	<home>/Files/.octavo.json     uses of the cached packages (K26), under .octavo.json.lock
package convention
