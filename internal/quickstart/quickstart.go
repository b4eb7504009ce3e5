package quickstart

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Options are the command's flags.
type Options struct {
	Data   string // folder of everything this makes
	Listen string // wanted address of the node, or of the balancer before several; the next free port is taken when it is busy
	Exit   bool   // stop after the deployments
	Nodes  int    // how many; 1 on an embedded database, more on PostgreSQL where it is installed
	SQLite bool   // several nodes on one SQLite file even where PostgreSQL is installed
	Kill   bool   // kill -9 the node that runs a deployment, without asking
}

func (o Options) check() error {
	switch {
	case o.Nodes < 1 || o.Nodes > 9:
		return fmt.Errorf("--nodes must be 1 to 9, not %d", o.Nodes)
	case o.Nodes == 1 && o.Kill:
		return errors.New("--kill needs another node that goes on: add --nodes 3")
	case o.Nodes == 1 && o.SQLite:
		return errors.New("--sqlite is for several nodes; one node is always on SQLite")
	}
	return nil
}

// ErrFailed is a deployment that did not end well; the log above says why.
var ErrFailed = errors.New("the deployment failed; the log above says why")

// show is one run of the command.
type show struct {
	terminal
	Options
	client
	octavo, agent string // the programs
	comms         string // where polling agents call
	processes     []*process
	nodes         []*node // when there are several
	balancers     []*Balancer
}

// Run does it all and, unless Exit is set, stays up until ctx ends.
func Run(ctx context.Context, options Options) error {
	if err := options.check(); err != nil {
		return err
	}
	data, err := filepath.Abs(options.Data)
	if err != nil {
		return err
	}
	options.Data = data
	s := &show{terminal: newTerminal(os.Stdout), Options: options}
	defer s.stop()
	if err := s.run(ctx); err != nil {
		return err
	}
	if s.Exit {
		return nil
	}
	fmt.Fprintf(s, "\nServing. Ctrl-C stops; your data stays in %s.\n", s.Data)
	<-ctx.Done()
	return nil
}

func (s *show) run(ctx context.Context) error {
	bin, postgres := filepath.Join(s.Data, "bin"), ""
	on := "one node, embedded database"
	if s.Nodes > 1 {
		// Each database has its own folder, since blobs and master key belong to it.
		on = fmt.Sprintf("%d nodes on PostgreSQL", s.Nodes)
		if postgres = initdb(); postgres == "" || s.SQLite {
			postgres, on = "", fmt.Sprintf("%d nodes on one SQLite file: for showing, not for production", s.Nodes)
			s.Data = filepath.Join(s.Data, "nodes-on-sqlite")
		} else {
			s.Data = filepath.Join(s.Data, "nodes-on-postgres")
		}
	}
	if err := os.MkdirAll(filepath.Join(s.Data, "logs"), 0o700); err != nil {
		return err
	}
	fmt.Fprintf(s, "%s  %s, data in %s\n\n", s.paint(bold, "Octavo quickstart"), on, s.Data)

	since := time.Now()
	var err error
	if s.octavo, s.agent, err = binaries(bin); err != nil {
		return err
	}
	s.done("binaries", "octavo and octavo-agent", since)

	if s.Nodes > 1 {
		err = s.startNodes(ctx, postgres)
	} else {
		err = s.startNode(ctx)
	}
	if err != nil {
		return err
	}

	p, err := s.configure(ctx)
	if err != nil {
		return err
	}

	since = time.Now()
	if err := s.startAgents(ctx); err != nil {
		return err
	}
	if s.Nodes > 1 {
		s.done("agents", "listening-agent (every node calls it), polling-agent (it calls the balancer's one address)", since)
	} else {
		s.done("agents", "listening-agent (the node calls it), polling-agent (it calls the node)", since)
	}

	version, err := s.publish(ctx, p)
	if err != nil {
		return err
	}
	var said []string
	environments := []string{"Development", "Production"}
	if s.Nodes > 1 {
		environments = environments[:1] // what comes next is the point
	}
	for _, environment := range environments {
		if said, err = s.deploy(ctx, p, version, environment); err != nil {
			return err
		}
	}
	if s.Nodes > 1 {
		if err := s.outlive(ctx, p); err != nil {
			return err
		}
	}
	s.next(version, said)
	return nil
}

// admin makes the database and an administrator whose key lies in the data folder.
func (s *show) admin(ctx context.Context, database string) error {
	keyFile := filepath.Join(s.Data, "quickstart.key")
	key, err := os.ReadFile(keyFile)
	if errors.Is(err, os.ErrNotExist) {
		key = []byte("API-" + rand.Text())
		err = os.WriteFile(keyFile, key, 0o600)
	}
	if err != nil {
		return err
	}
	s.key = strings.TrimSpace(string(key))
	admin := exec.CommandContext(ctx, s.octavo, "admin", "--database", database, "--master-key-file", filepath.Join(s.Data, "master.key"), "--username", "admin")
	admin.Env = append(os.Environ(), "OCTAVO_API_KEY="+s.key) // not among the arguments, which others may see
	if out, err := admin.CombinedOutput(); err != nil {
		return fmt.Errorf("octavo admin: %w\n%s", err, out)
	}
	return nil
}

// arguments are those that every node has.
func (s *show) arguments(database string) []string {
	return []string{"--database", database, "--blobs", filepath.Join(s.Data, "blobs"), "--master-key-file", filepath.Join(s.Data, "master.key"), "--tools", filepath.Join(s.Data, "tools")}
}

// told says so when the wanted address was taken.
func (s *show) told(listen string) {
	if listen != s.Listen {
		fmt.Fprintf(s, "  %s %s is taken; using %s\n", s.paint(yellow, "!"), s.Listen, listen)
	}
}

// startNode starts the only node.
func (s *show) startNode(ctx context.Context) error {
	since := time.Now()
	database := filepath.Join(s.Data, "octavo.db")
	if err := s.admin(ctx, database); err != nil {
		return err
	}
	listen, err := freeAddress(s.Listen)
	if err != nil {
		return err
	}
	s.told(listen)
	s.comms, err = freeAddress("127.0.0.1:10943")
	if err != nil {
		return err
	}
	s.url = "http://" + listen
	arguments := append([]string{"server", "run"}, s.arguments(database)...)
	p, err := s.start("node", exec.Command(s.octavo, append(arguments, "--data", s.Data, "--listen", listen, "--comms-listen", s.comms, "--node-name", "quickstart")...))
	if err != nil {
		return err
	}
	if err := s.wait(ctx, p, "the node", func() bool { return answers(s.url + "/api") }); err != nil {
		return err
	}
	s.done("node", s.url, since)
	return nil
}

// configure makes environments, lifecycle, project, variables and process through the REST API.
func (s *show) configure(ctx context.Context) (project object, err error) {
	since := time.Now()
	const space = "/api/Spaces-1"
	var environments []string
	for _, name := range []string{"Development", "Production"} {
		environment, err := s.ensure(ctx, space+"/environments", object{"Name": name})
		if err != nil {
			return nil, err
		}
		environments = append(environments, environment.text("Id"))
	}
	lifecycle, err := s.ensure(ctx, space+"/lifecycles", object{"Name": "Development, then Production", "Phases": []object{
		{"Name": "Development", "OptionalDeploymentTargets": environments[:1]},
		{"Name": "Production", "OptionalDeploymentTargets": environments[1:]},
	}})
	if err != nil {
		return nil, err
	}
	group, err := s.ensure(ctx, space+"/projectgroups", object{"Name": "Quickstart"})
	if err != nil {
		return nil, err
	}
	project, err = s.ensure(ctx, space+"/projects", object{"Name": "Octavo", "ProjectGroupId": group["Id"], "LifecycleId": lifecycle["Id"]})
	if err != nil {
		return nil, err
	}
	if err := s.setVariables(ctx, project, []object{
		{"Name": "ListenAddress", "Value": "0.0.0.0:8080"},
		{"Name": "LogLevel", "Value": "info"},
		{"Name": "LogLevel", "Value": "debug", "Scope": object{"Environment": environments[:1]}},
		{"Name": "LicenceKey", "Value": "not-for-anybodys-eyes", "IsSensitive": true, "Type": "Sensitive"},
	}); err != nil {
		return nil, err
	}
	if err := s.setProcess(ctx, project, steps()); err != nil {
		return nil, err
	}
	s.done("project", `"Octavo": two steps, two environments, one lifecycle`, since)
	return project, nil
}

func (s *show) setVariables(ctx context.Context, project object, variables []object) error {
	path := "/api/Spaces-1/variables/" + project.text("VariableSetId")
	var set object
	if err := s.call(ctx, "GET", path, nil, &set); err != nil {
		return err
	}
	if have, _ := set["Variables"].([]any); len(have) > 0 {
		return nil // made by an earlier run, and perhaps changed by the user since
	}
	set["Variables"] = variables
	return s.call(ctx, "PUT", path, set, nil)
}

// checkScript is the second step; it runs the program that the first one installed.
const checkScript = `dir=$(get_octopusvariable "Octopus.Action[Install Octavo].Output.Package.InstallationDirectoryPath")
said=$("$dir/octavo" version) || fail_step "The installed program does not run"
set_octopusvariable "Said" "$said"
echo "A licence key came with the variables; the log hides it: $(get_octopusvariable LicenceKey)"
write_highlight "$dir/octavo says: $said"
`

func (s *show) setProcess(ctx context.Context, project object, steps []object) error {
	path := "/api/Spaces-1/deploymentprocesses/" + project.text("DeploymentProcessId")
	var process object
	if err := s.call(ctx, "GET", path, nil, &process); err != nil {
		return err
	}
	if have, _ := process["Steps"].([]any); len(have) > 0 {
		return nil
	}
	process["Steps"] = steps
	return s.call(ctx, "PUT", path, process, nil)
}

// steps install the package and run what was installed.
func steps() []object {
	packageID := fmt.Sprintf("octavo-%s-%s", runtime.GOOS, runtime.GOARCH)
	return []object{
		{
			"Name": "Install Octavo", "Properties": object{"Octopus.Action.TargetRoles": "octavo-host"},
			"Actions": []object{{
				"Name": "Install Octavo", "ActionType": "Octopus.TentaclePackage",
				"Packages": []object{{"Name": "", "PackageId": packageID, "FeedId": "feeds-builtin", "AcquisitionLocation": "Server"}},
				"Properties": object{
					"Octopus.Action.Package.PackageId": packageID, "Octopus.Action.Package.FeedId": "feeds-builtin",
					"Octopus.Action.EnabledFeatures":               "Octopus.Features.SubstituteInFiles",
					"Octopus.Action.SubstituteInFiles.TargetFiles": "octavo.yaml",
					"Octopus.Action.Package.DownloadOnTentacle":    "False",
				},
			}},
		},
		scriptStep("Check", checkScript),
	}
}

// scriptStep is a Bash step on both agents.
func scriptStep(name, body string) object {
	return object{
		"Name": name, "Properties": object{"Octopus.Action.TargetRoles": "octavo-host"},
		"Actions": []object{{
			"Name": name, "ActionType": "Octopus.Script",
			"Properties": object{
				"Octopus.Action.RunOnServer": "False", "Octopus.Action.Script.ScriptSource": "Inline",
				"Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": body,
			},
		}},
	}
}

// startAgents makes two agents with the agent's own commands, and registers and starts them.
func (s *show) startAgents(ctx context.Context) error {
	_, commsPort, _ := net.SplitHostPort(s.comms)
	for _, name := range []string{"listening-agent", "polling-agent"} {
		data := filepath.Join(s.Data, "agents", name)
		register := []string{
			"register-with", "--data", data, "--server", s.url, "--name", name,
			"--environment", "Development", "--environment", "Production", "--role", "octavo-host", "--force",
		}
		configure := []string{"configure", "--data", data, "--app", filepath.Join(data, "Applications")}
		if name == "listening-agent" {
			address, err := freeAddress("127.0.0.1:10933")
			if err != nil {
				return err
			}
			_, port, _ := net.SplitHostPort(address)
			configure = append(configure, "--listen", address)
			register = append(register, "--comms-style", "TentaclePassive", "--publicHostName", "127.0.0.1", "--tentacle-comms-port", port)
		} else {
			configure = append(configure, "--noListen")
			register = append(register, "--comms-style", "TentacleActive", "--server-comms-address", "127.0.0.1", "--server-comms-port", commsPort)
		}
		for _, arguments := range [][]string{{"new-certificate", "--data", data, "--if-blank"}, configure, register} {
			command := exec.CommandContext(ctx, s.agent, arguments...)
			command.Env = append(os.Environ(), "OCTAVO_API_KEY="+s.key)
			if out, err := command.CombinedOutput(); err != nil {
				return fmt.Errorf("octavo-agent %s: %w\n%s", arguments[0], err, out)
			}
		}
		if _, err := s.start(name, exec.Command(s.agent, "run", "--data", data)); err != nil {
			return err
		}
	}
	return nil
}

// nextVersion is that of a project's next release.
func (s *show) nextVersion(ctx context.Context, project object) (version string, err error) {
	var template struct{ NextVersionIncrement string }
	if err := s.call(ctx, "GET", "/api/Spaces-1/deploymentprocesses/"+project.text("DeploymentProcessId")+"/template", nil, &template); err != nil {
		return "", err
	}
	version = template.NextVersionIncrement
	var page struct{ TotalResults int }
	if err := s.call(ctx, "GET", "/api/Spaces-1/projects/"+project.text("Id")+"/releases", nil, &page); err != nil {
		return "", err
	}
	if page.TotalResults == 0 {
		version = "1.0.0"
	}
	return version, nil
}

// publish packs and uploads the next version, and makes a release of it.
func (s *show) publish(ctx context.Context, project object) (version string, err error) {
	if version, err = s.nextVersion(ctx, project); err != nil {
		return "", err
	}
	since := time.Now()
	archives := filepath.Join(s.Data, "packages")
	if err := os.MkdirAll(archives, 0o755); err != nil {
		return "", err
	}
	file, err := pack(archives, version, s.octavo, s.agent)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	bar := progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(io.Discard))
	if s.live {
		bar = progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(os.Stdout), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription("    "+filepath.Base(file)), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
	if _, err := s.upload(ctx, file, bar); err != nil && !isStatus(err, http.StatusConflict) {
		return "", fmt.Errorf("upload %s: %w", filepath.Base(file), err)
	}
	s.done("package", fmt.Sprintf("%s, %.1f MB, uploaded", filepath.Base(file), float64(info.Size())/1e6), since)

	since = time.Now()
	if err := s.release(ctx, object{"ProjectName": "Octavo", "ReleaseVersion": version, "PackageVersion": version}); err != nil {
		return "", err
	}
	s.done("release", version, since)
	return version, nil
}

// release makes a release.
func (s *show) release(ctx context.Context, of object) error {
	of["SpaceIdOrName"], of["IgnoreIfAlreadyExists"] = "Spaces-1", true
	if err := s.call(ctx, "POST", "/api/Spaces-1/releases/create/v1", of, nil); err != nil {
		return fmt.Errorf("create release %s of %s: %w", of.text("ReleaseVersion"), of.text("ProjectName"), err)
	}
	return nil
}

// ask asks for a deployment and gives its task.
func (s *show) ask(ctx context.Context, project object, version, environment string) (task string, err error) {
	var made struct {
		DeploymentServerTasks []struct{ DeploymentID, ServerTaskID string }
	}
	if err := s.call(ctx, "POST", "/api/Spaces-1/deployments/create/untenanted/v1", object{
		"SpaceIdOrName": "Spaces-1", "ProjectName": project["Name"], "ReleaseVersion": version, "EnvironmentNames": []string{environment},
	}, &made); err != nil {
		return "", fmt.Errorf("deploy to %s: %w", environment, err)
	}
	if len(made.DeploymentServerTasks) != 1 {
		return "", fmt.Errorf("deploy to %s: the server made %d tasks", environment, len(made.DeploymentServerTasks))
	}
	return made.DeploymentServerTasks[0].ServerTaskID, nil
}

// deploy starts one deployment and prints its log to the end; it gives what the steps highlighted.
func (s *show) deploy(ctx context.Context, project object, version, environment string) (said []string, err error) {
	since := time.Now()
	task, err := s.ask(ctx, project, version, environment)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(s, "\n%s %s\n", s.paint(bold, fmt.Sprintf("Deploying Octavo %s to %s", version, environment)), s.paint(dim, task))
	state, said, err := s.follow(ctx, &s.client, task)
	if err != nil {
		return nil, err
	}
	if state != "Success" {
		fmt.Fprintf(s, "\n%s after %.1f s\n", s.paint(red, state), time.Since(since).Seconds())
		return nil, ErrFailed
	}
	fmt.Fprintf(s, "\n%s in %.1f s\n", s.paint(green, state), time.Since(since).Seconds())
	return said, nil
}

// next tells where everything is.
func (s *show) next(version string, said []string) {
	key := filepath.Join(s.Data, "quickstart.key")
	var installed strings.Builder
	for _, line := range said {
		fmt.Fprintf(&installed, "  Installed  %s\n", line)
	}
	again := ""
	if s.Nodes > 1 {
		again = "             kill -9 any node: this address goes on answering, and what the node ran goes on\n"
	}
	fmt.Fprintf(s, `
%s
  Server     %s
  API key    in %s (user admin)
%s  Next       curl -H "X-Octopus-ApiKey: $(cat %s)" %s/api/Spaces-1/tasks
             curl -H "X-Octopus-ApiKey: $(cat %s)" %s/api/Spaces-1/projects/octavo/releases/%s
             curl %s/api/swagger.json
%s`, s.paint(bold, "What is where"), s.url, key, installed.String(), key, s.url, key, s.url, version, s.url, again)
}
