package convention

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// notThisFormat says that a file is not of the format that was tried.
type notThisFormat struct {
	format string
	cause  error
}

func (e *notThisFormat) Error() string { return e.format + ": " + e.cause.Error() }
func (e *notThisFormat) Unwrap() error { return e.cause }

// replacement is a variable that may name a place in a file.
type replacement struct {
	name  string
	value *string // evaluated; nil is null
}

// replacer changes the text of one format. It reports each hit by the variable's name.
type replacer func(text string, with *replacements) (string, error)

// replacements are all variables, and what came of them in one file.
type replacements struct {
	all    []replacement
	byName map[string]replacement // by lower case
	log    log
	hits   int
}

func (r *replacements) hit(name string) {
	r.hits++
	r.log.verbose("Structure found matching the variable '%s'. Replacing its content with the variable value.", name)
}

func (r *replacements) unable(name string, err error) {
	r.log.warning("Unable to set value for %s. The following error occurred: %v", name, err)
}

// find looks a name up as addresses are compared: without case. Names of the system never count, unless they go on with
// a colon (variables.md 5.2).
func (r *replacements) find(address string) (replacement, bool) {
	found, ok := r.byName[strings.ToLower(address)]
	if !ok || !addressable(found.name) {
		return replacement{}, false
	}
	return found, true
}

func addressable(name string) bool {
	rest, ok := cutPrefixFold(name, "Octopus")
	return !ok || strings.HasPrefix(rest, ":")
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// fileReplacements evaluates every variable. The environment's ("env:PATH") are left out: they would change a member PATH
// of an object env in everybody's files.
func (a *action) fileReplacements() *replacements {
	r := &replacements{byName: map[string]replacement{}, log: a.log}
	for e := range a.vars.All() {
		if _, env := cutPrefixFold(e.Name, "env:"); env {
			continue
		}
		one := replacement{name: e.Name}
		if e.Value != nil {
			text := a.vars.Text(e.Name)
			one.value = &text
		}
		r.all = append(r.all, one)
		r.byName[strings.ToLower(e.Name)] = one
	}
	return r
}

type fileFormat struct {
	name    string
	isXML   bool
	replace replacer
}

var (
	formatJSON       = fileFormat{"JSON", false, replaceJSON}
	formatXML        = fileFormat{"XML", true, replaceXML}
	formatYAML       = fileFormat{"YAML", false, replaceYAML}
	formatProperties = fileFormat{"Java properties", false, replaceProperties}
)

// formatsOf gives the formats to try, in order.
func formatsOf(path string, jsonOnly bool) []fileFormat {
	ext := strings.ToLower(filepath.Ext(path))
	switch {
	case jsonOnly || ext == ".json":
		return []fileFormat{formatJSON}
	case ext == ".xml":
		return []fileFormat{formatJSON, formatXML}
	case ext == ".yml" || ext == ".yaml":
		return []fileFormat{formatJSON, formatYAML}
	case ext == ".properties":
		return []fileFormat{formatJSON, formatProperties}
	}
	return []fileFormat{formatJSON, formatXML, formatYAML, formatProperties}
}

// replaceStructured is variables.md 5.2.
func (a *action) replaceStructured() error {
	if !a.feature("Octopus.Features.JsonConfigurationVariables") {
		return nil
	}
	files, err := a.targets("Octopus.Action.Package.JsonConfigurationVariablesTargets", func(_, pattern string) {
		a.log.warning("No files were found that match the replacement target pattern '%s'", pattern)
	})
	if err != nil || len(files) == 0 {
		return err
	}
	with := a.fileReplacements()
	jsonOnly := a.vars.Flag("Octopus.Action.StructuredConfigurationFallbackFlag", false)
	for _, f := range files {
		if isDir(f) {
			a.log.warning("Skipping structured variable replacement on '%s', as it is a directory.", f)
			continue
		}
		if err := a.replaceIn(f, formatsOf(f, jsonOnly), with); err != nil {
			return err
		}
	}
	return nil
}

func (a *action) replaceIn(path string, formats []fileFormat, with *replacements) error {
	a.log.info("Performing structured variable replacement on '%s'", path)
	var last error
	for _, format := range formats {
		f, err := readText(path, format.isXML)
		if err != nil {
			return err
		}
		with.hits = 0
		text, err := format.replace(f.text, with)
		var not *notThisFormat
		if errors.As(err, &not) {
			last = err
			continue
		}
		if err != nil {
			return err
		}
		if with.hits == 0 {
			a.log.info("No structures have been found that match variable names, so no structured variable replacements have been applied.")
			return nil
		}
		a.log.verbose("'%s' was read as %s", path, format.name)
		return f.write(text, format.isXML)
	}
	return fault.Because(fault.Invalidf("Structured variable replacement failed on '%s': it cannot be read as %v", path, last), last)
}
