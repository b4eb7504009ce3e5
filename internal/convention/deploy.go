package convention

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// deployment is one package on its way to be installed.
type deployment struct {
	*action
	file      string // the package
	id        string
	version   string
	before    []installation
	extracted string // "" until it was unpacked
	skipped   bool   // it is installed already
	visited   []string
}

// convention is one entry of the list.
type convention struct {
	name string
	do   func() error
}

// conventions is the list of G2, in its order.
func (d *deployment) conventions() []convention {
	packaged := func(stage string) func() error { return func() error { return d.runPackaged(stage) } }
	inline := func(stage string) func() error { return func() error { return d.runInline(stage) } }
	features := func(stage string) func() error { return func() error { return d.runFeatures(stage) } }
	return []convention{
		{"already-installed check", d.checkInstalled},
		{"extract", d.extract},
		{"BeforePreDeploy features", features("BeforePreDeploy")},
		{"PreDeploy inline", inline("PreDeploy")},
		{"PreDeploy packaged", packaged("PreDeploy")},
		{"AfterPreDeploy features", features("AfterPreDeploy")},
		{"substitute in files", d.substituteInFiles},
		{"config transforms", d.transformConfigs},
		{"config variables", d.replaceConfigVariables},
		{"structured variables", d.replaceStructured},
		{"copy to custom directory", d.copyToCustom},
		{"BeforeDeploy features", features("BeforeDeploy")},
		{"Deploy packaged", packaged("Deploy")},
		{"Deploy inline", inline("Deploy")},
		{"AfterDeploy features", features("AfterDeploy")},
		{"legacy IIS path", d.legacyIIS},
		{"BeforePostDeploy features", features("BeforePostDeploy")},
		{"PostDeploy packaged", packaged("PostDeploy")},
		{"PostDeploy inline", inline("PostDeploy")},
		{"AfterPostDeploy features", features("AfterPostDeploy")},
	}
}

// onFailure is what runs after a failure; what fails in it is only logged.
func (d *deployment) onFailure() []convention {
	return []convention{
		{"DeployFailed packaged", func() error { return d.runPackaged("DeployFailed") }},
		{"DeployFailed features", func() error { return d.runFeatures("DeployFailed") }},
	}
}

// deployPackage is the command of that name.
func (a *action) deployPackage() error {
	d, err := a.newDeployment()
	if err != nil {
		return err
	}
	return d.deploy()
}

func (a *action) newDeployment() (*deployment, error) {
	d := &deployment{action: a}
	for _, need := range []struct {
		name string
		to   *string
	}{{varPackageId, &d.id}, {varVersion, &d.version}, {varPackagePath, &d.file}} {
		value, err := a.vars.Require(need.name)
		if err != nil {
			return nil, fault.Because(fault.InvalidField(need.name, "The variable %s must be given to deploy a package.", need.name), err)
		}
		*need.to = value
	}
	var err error
	if d.file, err = a.atHome(d.file); err != nil {
		return nil, err
	}
	a.vars.Set(varPackagePath, d.file)
	if _, err := os.Stat(d.file); err != nil {
		return nil, fault.Because(fault.Invalidf("The package %s %s is not on this machine: %s is missing. It must be acquired again.", d.id, d.version, d.file), err)
	}
	if d.before, err = a.installations(); err != nil {
		return nil, err
	}
	a.setPrevious(d.before)
	return d, nil
}

// deploy goes through the list, and writes the journal whatever happens (deployments.md G2, G9).
func (d *deployment) deploy() error {
	err := d.through(d.conventions())
	if err == nil {
		err = d.deleteFailedScripts()
	}
	if err != nil {
		first := err
		d.log.verbose("The deployment of %s %s failed: %v", d.id, d.version, first)
		d.vars.Set("Octopus.Action.Status.Error", first.Error())
		if d.extracted != "" {
			for _, c := range d.onFailure() {
				d.visited = append(d.visited, c.name)
				if err := c.do(); err != nil {
					d.log.failure("%v", err)
				}
			}
		}
	}
	return errors.Join(err, d.writeJournal(err == nil))
}

func (d *deployment) through(list []convention) error {
	for _, c := range list {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		d.visited = append(d.visited, c.name)
		if err := c.do(); err != nil {
			return err
		}
		if d.vars.Flag(varSkipRemaining, false) {
			d.log.verbose("%s is True: what remains of this action is skipped.", varSkipRemaining)
			return nil
		}
	}
	return nil
}

// checkInstalled is G1.
func (d *deployment) checkInstalled() error {
	if !d.vars.Flag("Octopus.Action.Package.SkipIfAlreadyInstalled", false) || d.vars.Flag("Octopus.Deployment.ForcePackageRedeployment", false) {
		return nil
	}
	was, ok := alreadyInstalled(d.before, d.id, d.version)
	if !ok {
		return nil
	}
	d.log.info("The package %s %s has already been installed on this machine at %s, so it is not installed again.",
		d.id, d.version, was.InstalledOn.Format(journalTime))
	d.skipped = true
	dir := was.CustomDir
	if dir == "" {
		dir = was.ExtractedTo
	}
	d.vars.Set(varInstallDir, dir)
	d.output("Package.InstallationDirectoryPath", dir)
	d.vars.Set(varSkipRemaining, "True")
	return nil
}

// extract is G3.
func (d *deployment) extract() error {
	if err := os.MkdirAll(d.apps, 0o755); err != nil {
		return err
	}
	if err := d.checkSpace(d.apps); err != nil {
		return err
	}
	dir, err := claimDirectory(extractionDirectory(d.apps, d.vars.Text("Octopus.Deployment.Tenant.Name"), d.vars.Text("Octopus.Environment.Name"), d.id, d.version))
	if err != nil {
		return err
	}
	d.log.info("Extracting package %s %s to '%s'", d.id, d.version, dir)
	sum, err := d.extractTo(d.file, dir)
	if err != nil {
		os.Remove(dir) // ours, and empty
		return err
	}
	d.log.verbose("Extracted %d files, %d bytes", sum.Files, sum.Bytes)
	d.extracted, d.dir = dir, dir
	d.vars.Set("OctopusOriginalPackageDirectoryPath", dir)
	d.vars.Set(varInstallDir, dir)
	d.output("Package.InstallationDirectoryPath", dir)
	d.output("Package.ExtractedFileCount", strconv.Itoa(sum.Files))
	return nil
}

// legacyIIS changed the home directory of a web site by its name, on old versions of Windows. There is no IIS where we run.
func (d *deployment) legacyIIS() error {
	if d.vars.Flag("Octopus.Action.Package.UpdateIisWebsite", false) {
		d.log.warning("Octopus.Action.Package.UpdateIisWebsite is on, but there is no IIS on this machine; nothing was changed.")
	}
	return nil
}

// deleteFailedScripts tidies up what is only for failures; a skipped rest leaves it (deployments.md G10).
func (d *deployment) deleteFailedScripts() error {
	if d.extracted == "" || d.vars.Flag(varSkipRemaining, false) || !d.vars.Flag("Octopus.Action.Package.RunScripts", true) {
		return nil
	}
	_, all, err := packagedScript(d.dir, "DeployFailed", "")
	if err != nil {
		return err
	}
	return d.deleteScripts(all)
}

// writeJournal is G9.
func (d *deployment) writeJournal(ok bool) error {
	if d.journal == "" || d.extracted == "" || d.skipped || d.vars.Flag("Octopus.Action.SkipJournal", false) {
		return nil
	}
	custom := ""
	if d.feature("Octopus.Features.CustomDirectory") && !strings.EqualFold(filepath.Clean(d.vars.Text(varCustomDir)), filepath.Clean(d.extracted)) {
		custom = d.vars.Text(varCustomDir)
	}
	return addToJournal(d.journal, installation{
		Id:            newGuid(),
		EnvironmentId: d.vars.Text("Octopus.Environment.Id"),
		TenantId:      d.vars.Text("Octopus.Deployment.Tenant.Id"),
		ProjectId:     d.vars.Text("Octopus.Project.Id"),
		InstalledOn:   time.Now(),
		Set:           d.retentionSet(),
		ExtractedTo:   d.extracted,
		CustomDir:     custom,
		Successful:    ok,
		Packages:      []installedPackage{{d.id, d.version, d.file}},
	})
}
