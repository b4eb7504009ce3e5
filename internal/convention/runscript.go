package convention

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/archive"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/script"
)

const (
	varScriptBody = "Octopus.Action.Script.ScriptBody"
	varSyntax     = "Octopus.Action.Script.Syntax"
	varScriptFile = "Octopus.Action.Script.ScriptFileName"
)

// runScript is a script step (deployments.md E1): packages, the script's file, features, run. It runs in a folder of its
// own, so that a package never meets the files of the workspace.
func (a *action) runScript() error {
	work := filepath.Join(a.dir, "work")
	fromPackage := false
	switch source := a.vars.Text("Octopus.Action.Script.ScriptSource"); strings.ToLower(source) {
	case "", "inline":
	case "package", "gitrepository":
		fromPackage = true
	default:
		return fault.InvalidField("Octopus.Action.Script.ScriptSource", "The script source %q is not known; it is Inline, Package or GitRepository.", source)
	}
	if fromPackage {
		if err := a.checkSpace(a.dir); err != nil {
			return err
		}
		file, err := a.packageFile(varPackagePath, "the script's package")
		if err != nil {
			return err
		}
		a.vars.Set(varPackagePath, file)
		if _, err := a.extractTo(file, work); err != nil {
			return err
		}
		a.vars.Set("OctopusOriginalPackageDirectoryPath", work)
	} else if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	a.dir = work
	if err := a.stageReferences(); err != nil {
		return err
	}
	language, name, err := a.scriptFile(fromPackage)
	if err != nil {
		return err
	}
	for _, do := range []func() error{
		func() error { return a.substituteFile(filepath.Join(work, name)) },
		a.substituteInFiles, a.transformConfigs, a.replaceConfigVariables, a.replaceStructured,
	} {
		if err := do(); err != nil {
			return err
		}
	}
	parameters, err := a.text("Octopus.Action.Script.ScriptParameters")
	if err != nil {
		return err
	}
	return a.run(language, name, parameters)
}

// packageFile gives the absolute path of a package that a variable names.
func (a *action) packageFile(name, what string) (string, error) {
	value, err := a.vars.Require(name)
	if err != nil {
		return "", fault.Because(fault.InvalidField(name, "The variable %s must say where %s is.", name, what), err)
	}
	file, err := a.atHome(value)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err != nil {
		return "", fault.Because(fault.InvalidField(name, "%s is not on this machine: %s is missing. It must be acquired again.", what, file), err)
	}
	return file, nil
}

// stageReferences extracts or copies the referenced packages (deployments.md G13).
func (a *action) stageReferences() error {
	for _, ref := range a.vars.Indexes("Octopus.Action.Package") {
		prefix := "Octopus.Action.Package[" + ref + "]."
		if ref == "" || a.vars.Text(prefix+"OriginalPath") == "" { // the primary one, or one that is not acquired, as an image
			continue
		}
		file, err := a.packageFile(prefix+"OriginalPath", "the package reference "+ref)
		if err != nil {
			return err
		}
		a.vars.Set(prefix+"OriginalPath", file)
		local := plainName(ref)
		if local == "" {
			return fault.InvalidField(prefix+"OriginalPath", "The package reference %q has a name that no folder can have.", ref)
		}
		to := filepath.Join(a.dir, local)
		if a.vars.Flag(prefix+"Extract", false) {
			a.log.verbose("Extracting the package %s to %s", ref, to)
			if _, err := a.extractTo(file, to); err != nil {
				return err
			}
			a.vars.Set(prefix+"ExtractedPath", to)
			continue
		}
		ext := archive.Extension(file)
		if ext == "" {
			ext = filepath.Ext(file)
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if err := copyFile(file, to+ext, info); err != nil {
			return err
		}
		a.vars.Set(prefix+"PackageFilePath", to+ext)
		a.vars.Set(prefix+"PackageFileName", local+ext)
	}
	return nil
}

// scriptFile gives the file that runs, relative to the working directory; an inline body is written first.
func (a *action) scriptFile(fromPackage bool) (script.Language, string, error) {
	if fromPackage {
		return a.packagedScriptFile()
	}
	language, body, err := a.inlineBody()
	if err != nil {
		return "", "", err
	}
	name := "Script." + extensions[language]
	return language, name, os.WriteFile(filepath.Join(a.dir, name), script.Normalize([]byte(body)), 0o600)
}

// inlineBody finds the body, also in the form of older exports, one per language (deployments.md 0.4). It is raw, since
// the file that holds it is evaluated.
func (a *action) inlineBody() (script.Language, string, error) {
	syntax := a.vars.Text(varSyntax)
	if body, ok := a.vars.Raw(varScriptBody); ok && body != "" {
		if syntax == "" {
			syntax = string(script.Bash)
		}
		for l := range extensions {
			if strings.EqualFold(string(l), syntax) {
				return l, body, nil
			}
		}
		return "", "", fault.InvalidField(varSyntax, "Scripts in %q cannot be run here; use Bash or Python.", syntax)
	}
	for _, l := range preference("") {
		if body, ok := a.vars.Raw(varScriptBody + "[" + string(l) + "]"); ok && body != "" {
			return l, body, nil
		}
	}
	return "", "", fault.InvalidField(varScriptBody, "The step has no script: %s is empty.", varScriptBody)
}

func (a *action) packagedScriptFile() (script.Language, string, error) {
	name, err := a.vars.Require(varScriptFile)
	if err != nil {
		return "", "", fault.Because(fault.InvalidField(varScriptFile, "The step runs a script from a package, but %s does not say which file.", varScriptFile), err)
	}
	name = filepath.FromSlash(strings.ReplaceAll(strings.TrimSpace(name), `\`, "/"))
	if !filepath.IsLocal(name) {
		return "", "", fault.InvalidField(varScriptFile, "The script file %q must be a path inside the package.", name)
	}
	if _, err := os.Stat(filepath.Join(a.dir, name)); errors.Is(err, fs.ErrNotExist) {
		return "", "", fault.InvalidField(varScriptFile, "The package has no file %q.", name)
	}
	language, ok := languageOf(name)
	if !ok {
		return "", "", fault.InvalidField(varScriptFile, "The script file %q has no extension of a language; use .sh or .py.", name)
	}
	return language, name, nil
}

// transferPackage copies the package file, unextracted (deployments.md 0.4, Octopus.TransferPackage).
func (a *action) transferPackage() error {
	const varTo = "Octopus.Action.Package.TransferPath"
	file, err := a.packageFile(varPackagePath, "the package")
	if err != nil {
		return err
	}
	dir, err := a.vars.Require(varTo)
	if err != nil {
		return fault.Because(fault.InvalidField(varTo, "The step does not say to which folder the package is copied: %s is empty.", varTo), err)
	}
	if !filepath.IsAbs(dir) {
		return fault.InvalidField(varTo, "The transfer path %q is a relative path; give an absolute one.", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	name := encodeName(a.vars.Text(varPackageId)) + "." + encodeName(a.vars.Text(varVersion)) + archive.Extension(file)
	to := filepath.Join(dir, name)
	if err := copyFile(file, to, info); err != nil {
		return err
	}
	if err := os.Chmod(to, 0o644); err != nil {
		return err
	}
	a.log.info("Copied the package to '%s'", to)
	a.output("Package.DirectoryPath", dir)
	a.output("Package.FileName", name)
	a.output("Package.FilePath", to)
	return nil
}
