package convention

import (
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// configFiles gives every *.config below the current directory.
func (a *action) configFiles() ([]string, error) {
	var files []string
	err := filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() && strings.EqualFold(filepath.Ext(path), ".config") {
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// replaceConfigVariables is variables.md 5.3: appSettings, connectionStrings and applicationSettings of .NET.
func (a *action) replaceConfigVariables() error {
	if !a.feature("Octopus.Features.ConfigurationVariables") ||
		!a.vars.Flag("Octopus.Action.Package.AutomaticallyUpdateAppSettingsAndConnectionStrings", false) {
		return nil
	}
	files, err := a.configFiles()
	if err != nil {
		return err
	}
	with := a.fileReplacements()
	for _, f := range files {
		if a.transforms[f] {
			continue
		}
		if err := a.replaceConfig(f, with); err != nil {
			if !a.vars.Flag("Octopus.Action.Package.IgnoreVariableReplacementErrors", false) {
				return fault.Because(fault.Invalidf("The variables in '%s' could not be replaced: %v", f, err), err)
			}
			a.log.warning("The variables in '%s' could not be replaced: %v", f, err)
		}
	}
	return nil
}

func (a *action) replaceConfig(path string, with *replacements) error {
	f, err := readText(path, true)
	if err != nil {
		return err
	}
	doc, err := parseXML(f.text)
	if err != nil {
		return err
	}
	changed := false
	var visit func(n *xmlNode, section string)
	visit = func(n *xmlNode, section string) {
		if n.kind == xmlElement {
			if hit := a.setConfig(n, section, with); hit {
				changed = true
			}
			if n.local == "appSettings" || n.local == "connectionStrings" || n.local == "applicationSettings" {
				section = n.local
			}
		}
		for _, c := range n.children {
			visit(c, section)
		}
	}
	visit(doc, "")
	if !changed {
		return nil
	}
	a.log.info("Replaced appSettings, connectionStrings and applicationSettings in '%s'", path)
	return f.write(doc.String(), true)
}

// setConfig changes one element, if its section and name say so.
func (a *action) setConfig(n *xmlNode, section string, with *replacements) bool {
	parent := ""
	if n.parent != nil {
		parent = n.parent.local
	}
	var key, target string
	switch {
	case parent == "appSettings" && n.local == "add":
		key, target = "key", "value"
	case parent == "connectionStrings" && n.local == "add":
		key, target = "name", "connectionString"
	case section == "applicationSettings" && n.local == "setting":
		key = "name"
	default:
		return false
	}
	named := n.attr(key)
	if named == nil {
		return false
	}
	r, ok := with.byName[strings.ToLower(named.value)]
	if !ok {
		return false
	}
	value := ""
	if r.value != nil {
		value = *r.value
	}
	shown := value
	if a.vars.Sensitive(r.name) {
		shown = "********"
	}
	a.log.verbose("Setting '%s' = '%s'", r.name, shown)
	if target != "" {
		n.setAttr(target, value)
		return true
	}
	for _, c := range n.children {
		if c.kind == xmlElement && c.local == "value" {
			c.set(value)
			return true
		}
	}
	c := &xmlNode{kind: xmlElement, prefix: n.prefix, local: "value"}
	n.empty = false
	n.add(c)
	c.set(value)
	return true
}
