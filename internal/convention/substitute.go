package convention

import (
	"errors"
	"fmt"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/variable"
)

const varOutputEncoding = "Octopus.Action.SubstituteInFiles.OutputEncoding"

// substituteInFiles is variables.md 5.1.
func (a *action) substituteInFiles() error {
	if !a.feature("Octopus.Features.SubstituteInFiles") {
		return nil
	}
	files, err := a.targets("Octopus.Action.SubstituteInFiles.TargetFiles", func(dir, pattern string) {
		if a.vars.Flag("Octopus.Action.SubstituteInFiles.EnableNoMatchWarning", true) {
			a.log.warning("No files were found in %s that match the substitution target pattern '%s'", dir, pattern)
		}
	})
	if err != nil {
		return err
	}
	for _, f := range files {
		if isDir(f) {
			continue
		}
		a.log.verbose("Performing variable substitution on '%s'", f)
		if err := a.substituteFile(f); err != nil {
			return err
		}
	}
	return nil
}

// substituteFile evaluates one file as a template and writes it back.
func (a *action) substituteFile(path string) error {
	f, err := readText(path, false)
	if err != nil {
		return err
	}
	text, err := variable.EvaluateFile(f.text, a.vars)
	if err != nil {
		said := fmt.Sprintf("Parsing file '%s' with Octostache returned the following error: `%v`", path, err)
		var unresolved *variable.Unresolved
		if a.vars.Flag("OctopusShouldFailDeploymentOnSubstitutionFails", false) || !errors.As(err, &unresolved) {
			return fault.Because(fault.Invalidf("%s", said), err)
		}
		a.log.verbose("%s", said)
	}
	if name := a.vars.Text(varOutputEncoding); name != "" {
		if e, err := htmlindex.Get(name); err == nil {
			if n, _ := htmlindex.Name(e); n == "utf-8" {
				e = nil
			} else if f.encoding == nil {
				f.bom = nil // a mark of UTF-8 means nothing in another encoding
			}
			f.encoding = e
		}
	}
	if text == f.text && a.vars.Text(varOutputEncoding) == "" {
		return nil
	}
	return f.write(text, false)
}
