package convention

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/script"
)

// target is a machine with an agent's home, where commands of the tool can be run as a server would run them.
type target struct {
	t    testing.TB
	home string
	apps string
}

// result is what one command left.
type result struct {
	code      int
	out, err  string
	outputs   map[string]string
	others    []script.Other
	message   string // the last resultMessage
	workspace string
}

func newTarget(t testing.TB) *target {
	t.Helper()
	dir := t.TempDir()
	w := &target{t: t, home: filepath.Join(dir, "home"), apps: filepath.Join(dir, "apps")}
	for _, d := range []string{w.home, w.apps} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *target) environ() []string {
	return append(os.Environ(), "TentacleHome="+w.home, "TentacleApplications="+w.apps, "TentacleJournal="+w.journal())
}

func (w *target) journal() string { return filepath.Join(w.home, "DeploymentJournal.xml") }

// upload puts a zip with the files into the cache, as a server would, and gives the package.
func (w *target) upload(id, version string, files map[string]string) Package {
	w.t.Helper()
	data := zipOf(w.t, files)
	sum := sha256.Sum256(data)
	p := Package{Id: id, Version: version, Hash: hex.EncodeToString(sum[:]), Size: int64(len(data)), Extension: ".zip"}
	path := filepath.Join(w.home, p.Path())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// variables of a package step on this target; more are added or replaced in pairs.
func (w *target) variables(p Package, more ...string) []script.Variable {
	values := map[string]string{
		"Octopus.Environment.Id": "Environments-1", "Octopus.Environment.Name": "Dev", "Octopus.Project.Id": "Projects-1",
		"Octopus.Machine.Id": "Machines-1", "Octopus.Action.Name": "Web", "Octopus.Task.Id": "ServerTasks-1",
		varPackageId: p.Id, varVersion: p.Version, varPackagePath: p.Path(),
	}
	for i := 0; i < len(more); i += 2 {
		values[more[i]] = more[i+1]
	}
	var all []script.Variable
	for name, value := range values {
		all = append(all, script.NewVariable(name, value, strings.HasPrefix(name, "Secret")))
	}
	return all
}

// run runs one command in a fresh workspace.
func (w *target) run(command string, variables []script.Variable, more ...script.File) result {
	w.t.Helper()
	dir := w.t.TempDir()
	files, err := VariableFiles(variables)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range append(files, more...) {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Content, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	r := result{workspace: dir, outputs: map[string]string{}}
	r.code = runIn(w.t.Context(), dir, w.environ(), []string{command}, &out, &errs)
	r.out, r.err = out.String(), errs.String()
	var p script.Parser
	for _, e := range append(p.Write(script.Stdout, out.Bytes()), p.Close()...) {
		switch e := e.(type) {
		case script.SetVariable:
			r.outputs[e.Name] = e.Value
		case script.ResultMessage:
			r.message = e.Message
		case script.Other:
			r.others = append(r.others, e)
		}
	}
	for _, name := range []string{variablesName, keyName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			w.t.Errorf("%s is still in the workspace", name)
		}
	}
	return r
}

func (r result) want(t testing.TB, code int) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s\n%s", r.code, code, r.out, r.err)
	}
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func exists(path ...string) bool {
	_, err := os.Lstat(filepath.Join(path...))
	return err == nil
}

func file(t testing.TB) func(f script.File, err error) script.File {
	return func(f script.File, err error) script.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
}
