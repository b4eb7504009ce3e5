package internal_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/octavo/octavo/internal/"

// Groups of packages that the map below names in one word.
var (
	nouns = []string{"project", "variable", "release", "environment", "machine", "deployment", "access", "audit"}
	leaf  = []string{"fault", "id"}
	noun  = []string{"fault", "id", "resource"}
)

// mayImport is the drawing in ARCHITECTURE.md. Adding an arrow is a reviewed line.
var mayImport = map[string][]string{
	"fault":      nil,
	"crashpoint": nil,
	"id":         nil,
	"systemd":    nil,
	"version":    nil,

	"resource": leaf,

	"project":     noun,
	"variable":    noun,
	"release":     noun,
	"environment": noun,
	"machine":     noun,
	"access":      noun,
	"audit":       noun,
	"deployment":  join(noun, []string{"project", "variable", "release", "environment", "machine"}),

	"db":      leaf,
	"blob":    leaf,
	"archive": leaf,
	"script":  leaf,
	"secret":  join(leaf, []string{"db"}),

	"secret/mask": nil, // apart from secret, so that agents link no database

	"store": join(noun, nouns, []string{"db", "secret"}),
	"feed":  join(noun, []string{"db", "blob", "archive", "release"}),

	"cluster":    join(leaf, []string{"db", "crashpoint"}),
	"storage":    join(leaf, []string{"db", "blob", "cluster"}),
	"backup":     join(leaf, []string{"db", "blob", "storage", "cluster"}),
	"halibut":    leaf,
	"tentacle":   join(leaf, []string{"halibut"}),
	"hub":        join(leaf, []string{"halibut", "tentacle", "db", "blob", "machine", "secret"}),
	"agent":      join(leaf, []string{"halibut", "tentacle", "script", "archive", "secret/mask"}),
	"convention": join(leaf, []string{"archive", "script", "variable", "secret/mask"}),

	"engine":         join(noun, nouns, []string{"version", "crashpoint", "engine/tasklog", "control", "cluster", "hub", "store", "feed", "tentacle", "script", "convention", "db", "blob", "secret", "secret/mask"}),
	"engine/tasklog": join(noun, []string{"db", "blob", "cluster"}),

	"control": join(noun, nouns, []string{"crashpoint", "store", "cluster", "hub", "feed", "secret", "db"}),
	"api":     join(noun, nouns, []string{"control", "engine/tasklog"}),
	"web":     join(noun, nouns, []string{"control", "engine/tasklog"}),
	"config":  leaf,

	"quickstart": nil, // a client like any other
}

// inTests may be imported by tests of any package.
var inTests = []string{"db/dbtest"}

// TestImports refuses every arrow that is not drawn.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		path, imports, ok := strings.Cut(strings.TrimSpace(line), ":")
		name, inside := strings.CutPrefix(path, module)
		if !ok || !inside || slices.Contains(inTests, name) {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("internal/%s is not in the drawing: add it to mayImport and to ARCHITECTURE.md, or move it", name)
		}
		for _, imp := range strings.Fields(imports) {
			imp, ours := strings.CutPrefix(imp, module)
			if ours && !slices.Contains(allowed, imp) {
				t.Errorf("internal/%s may not import internal/%s", name, imp)
			}
		}
	}
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }
