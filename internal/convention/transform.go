package convention

import (
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// definition says which transforms are applied to which files (variables.md 5.4).
type definition struct {
	text      string
	suffix    string // "Release": X.Release.config for X.config; "" for the form with an arrow
	transform string // slash path, maybe with a leading *
	target    string // as above
}

func parseDefinition(text string) definition {
	d := definition{text: text}
	left, right, arrow := strings.Cut(text, "=>")
	if !arrow {
		d.suffix = strings.TrimSpace(text)
		if cut := len(d.suffix) - len(".config"); cut > 0 && strings.EqualFold(d.suffix[cut:], ".config") {
			d.suffix = d.suffix[:cut]
		}
		return d
	}
	d.transform = strings.ReplaceAll(strings.TrimSpace(left), `\`, "/")
	d.target = strings.ReplaceAll(strings.TrimSpace(right), `\`, "/")
	return d
}

// transformsOf gives the slash paths of the transforms of a file, which may not exist; all are the files there are.
func (d definition) transformsOf(file string, all []string) []string {
	dir, base := path.Split(file)
	if d.suffix != "" {
		ext := path.Ext(base)
		if !strings.EqualFold(ext, ".config") {
			return nil
		}
		return []string{dir + strings.TrimSuffix(base, ext) + "." + d.suffix + ext}
	}
	targetDir, targetBase := path.Split(d.target)
	stem := ""
	if rest, wild := strings.CutPrefix(targetBase, "*"); wild {
		var ok bool
		if stem, ok = cutSuffixFold(base, rest); !ok || stem == "" {
			return nil
		}
	} else if !strings.EqualFold(base, targetBase) {
		return nil
	}
	// A folder on the right is where the target lies below the folder that the left side starts from.
	if targetDir != "" {
		var ok bool
		if dir, ok = cutSuffixFold(dir, targetDir); !ok {
			return nil
		}
	}
	transformDir, transformBase := path.Split(d.transform)
	if !path.IsAbs(d.transform) {
		transformDir = dir + transformDir
	}
	rest, wild := strings.CutPrefix(transformBase, "*")
	switch {
	case !wild:
		return []string{transformDir + transformBase}
	case stem != "":
		return []string{transformDir + stem + rest}
	}
	var found []string
	for _, f := range all {
		fDir, fBase := path.Split(f)
		if _, ok := cutSuffixFold(fBase, rest); ok && strings.EqualFold(path.Clean(fDir), path.Clean(transformDir)) {
			found = append(found, f)
		}
	}
	return found
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if len(s) < len(suffix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return s, false
	}
	return s[:len(s)-len(suffix)], true
}

// definitions gives those of the step, the additional ones first.
func (a *action) definitions() ([]definition, error) {
	more, err := a.text("Octopus.Action.Package.AdditionalXmlConfigurationTransforms")
	if err != nil {
		return nil, err
	}
	var all []definition
	for _, part := range strings.FieldsFunc(more, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if strings.TrimSpace(part) == "" {
			continue
		}
		d := parseDefinition(part)
		if path.IsAbs(d.target) || strings.Contains(strings.TrimPrefix(path.Base(d.target), "*"), "*") {
			return nil, fault.InvalidField("Octopus.Action.Package.AdditionalXmlConfigurationTransforms",
				"The transform %q has a target that cannot be read: it must be a relative path, with a wildcard only at the start of its file name.", strings.TrimSpace(part))
		}
		all = append(all, d)
	}
	if a.vars.Flag("Octopus.Action.Package.AutomaticallyRunConfigurationTransformationFiles", false) {
		for _, suffix := range []string{"Release", a.vars.Text("Octopus.Environment.Name"), a.vars.Text("Octopus.Deployment.Tenant.Name")} {
			if suffix != "" {
				all = append(all, definition{text: suffix, suffix: suffix})
			}
		}
	}
	return all, nil
}

// transformConfigs is variables.md 5.4.
func (a *action) transformConfigs() error {
	if !a.feature("Octopus.Features.ConfigurationTransforms") {
		return nil
	}
	definitions, err := a.definitions()
	if err != nil || len(definitions) == 0 {
		return err
	}
	var all []string
	known := map[string]string{} // by lower case: files are looked up without case
	err = filepath.WalkDir(a.dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			p = filepath.ToSlash(p)
			all = append(all, p)
			known[strings.ToLower(p)] = p
		}
		return err
	})
	if err != nil {
		return err
	}
	a.transforms = map[string]bool{}
	done := map[[2]string]bool{}
	for _, d := range definitions {
		found := false
		for _, target := range all {
			for _, wanted := range d.transformsOf(target, all) {
				transform, ok := known[strings.ToLower(path.Clean(wanted))]
				if !ok && path.IsAbs(d.transform) {
					transform, ok = wanted, true
				}
				if !ok || transform == target {
					continue
				}
				found = true
				if pair := [2]string{transform, target}; !done[pair] {
					done[pair] = true
					a.transforms[filepath.FromSlash(transform)] = true
					if err := a.transformFile(filepath.FromSlash(transform), filepath.FromSlash(target)); err != nil {
						return err
					}
				}
			}
		}
		if !found {
			a.log.verbose("The transform definition '%s' found no files", strings.TrimSpace(d.text))
		}
	}
	return nil
}

// transformFile applies one transform to one file. Its warnings are errors unless told otherwise, and its errors end the
// step unless told otherwise.
func (a *action) transformFile(transform, target string) error {
	a.log.info("Transforming '%s' using '%s'", target, transform)
	err := a.applyTransform(transform, target)
	if err == nil {
		return nil
	}
	if a.vars.Flag("Octopus.Action.Package.IgnoreConfigTransformationErrors", false) {
		a.log.warning("Transforming '%s' using '%s' failed: %v", target, transform, err)
		return nil
	}
	return fault.Because(fault.Invalidf("Transforming '%s' using '%s' failed: %v. Set Octopus.Action.Package.IgnoreConfigTransformationErrors to True to go on after such errors.", target, transform, err), err)
}

func (a *action) applyTransform(transform, target string) error {
	from, err := readText(transform, true)
	if err != nil {
		return err
	}
	to, err := readText(target, true)
	if err != nil {
		return err
	}
	rules, err := parseXML(from.text)
	if err != nil {
		return err
	}
	doc, err := parseXML(to.text)
	if err != nil {
		return err
	}
	strict := a.vars.Flag("Octopus.Action.Package.TreatConfigTransformationWarningsAsErrors", true)
	var warned error
	err = transformXML(doc, rules, func(format string, args ...any) {
		a.log.warning(format, args...)
		if strict && warned == nil {
			warned = fault.Invalidf(format, args...)
		}
	})
	if err != nil {
		return err
	}
	if warned != nil {
		return warned
	}
	return to.write(withNewline(doc.String(), newline(to.text)), true)
}
