package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// where is the page.
const where = "docs/behaviour-coverage.md"

// found is one test of a row.
type found struct {
	row  int
	name string // of the test, and of the subtest
	file string // from the root
}

var rowIn = regexp.MustCompile(`Row(\d+)`)

// tests lists every test that names rows, in all test files of the tree.
func tests(root string) (all []found, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		in, err := testsIn(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, f := range in {
			f.file = filepath.ToSlash(name)
			all = append(all, f)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b found) int {
		return slices.Compare([]string{a.file, a.name}, []string{b.file, b.name})
	})
	return all, err
}

// testsIn lists the rows that a file's tests name, in their own names and in those of subtests that stand there as text.
func testsIn(path string) (all []found, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		test, ok := d.(*ast.FuncDecl)
		if !ok || test.Recv != nil || !strings.HasPrefix(test.Name.Name, "Test") {
			continue
		}
		add := func(in, name string) {
			for _, m := range rowIn.FindAllStringSubmatch(in, -1) {
				n, err := strconv.Atoi(m[1])
				if err != nil {
					n = 0 // more digits than any number has: shown as unknown
				}
				all = append(all, found{row: n, name: name})
			}
		}
		add(test.Name.Name, test.Name.Name)
		ast.Inspect(test, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Run" {
				return true
			}
			if text, ok := call.Args[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
				if name, err := strconv.Unquote(text.Value); err == nil {
					add(name, test.Name.Name+"/"+strings.ReplaceAll(name, " ", "_"))
				}
			}
			return true
		})
	}
	return all, nil
}

// page renders the whole page.
func page(root string) ([]byte, error) {
	all, err := tests(root)
	if err != nil {
		return nil, err
	}
	of := map[int][]string{}
	for _, f := range all {
		if f.row < 1 || f.row >= len(rows) {
			return nil, fmt.Errorf("%s: %s names row %d; there are rows 1 to %d", f.file, f.name, f.row, len(rows)-1)
		}
		text := fmt.Sprintf("`%s` (%s)", f.name, filepath.Dir(f.file))
		if !slices.Contains(of[f.row], text) {
			of[f.row] = append(of[f.row], text)
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `<!-- Written by: go run ./test/coverage. Do not edit. -->
# Which behaviour has which test

The behaviours of a highly available deployment server are numbered; a test that holds one has the row in its name. %d of %d rows have a test here.
The tests run with `+"`./scripts/test`"+`; those in test/cluster run real servers, agents and PostgreSQL.

| row | behaviour | tests |
| ---: | --- | --- |
`, len(of), len(rows)-1)
	var left []int
	for n := 1; n < len(rows); n++ {
		if len(of[n]) == 0 {
			left = append(left, n)
			continue
		}
		fmt.Fprintf(&out, "| %d | %s | %s |\n", n, rows[n], strings.Join(of[n], "<br>"))
	}
	fmt.Fprint(&out, `
## Left

| row | behaviour | what covers it |
| ---: | --- | --- |
`)
	for _, n := range left {
		fmt.Fprintf(&out, "| %d | %s | %s |\n", n, rows[n], plan(n))
	}
	fmt.Fprint(&out, `
## Proof that the tests can fail

`+"`./scripts/test --long`"+` takes each of these lines out, alone, and wants the test to fail (`+"`go run ./test/coverage -remove`"+`).

| row | file | the line | becomes | the test that fails |
| ---: | --- | --- | --- | --- |
`)
	for _, r := range removals {
		becomes := "`" + r.becomes + "`"
		if r.becomes == "" {
			becomes = "nothing"
		}
		fmt.Fprintf(&out, "| %d | %s | `%s` | %s | `%s` |\n", r.row, r.file, strings.ReplaceAll(r.line, "|", "\\|"), strings.ReplaceAll(becomes, "|", "\\|"), r.test)
	}
	return out.Bytes(), nil
}

// plan says what will cover a row that has no test yet.
func plan(row int) string {
	if said, ok := advice[row]; ok {
		return "nothing to test: " + said
	}
	switch {
	case row == 13 || row == 14:
		return "issue 6, the portal"
	case row == 52:
		return "issue 5, security"
	case row >= 48 && row <= 57 || row >= 66 && row <= 95 || row >= 100:
		return "issue 4, faults and operations"
	default:
		return "issue 3, the cluster"
	}
}

// advice are rows that say something to people, not to a server.
var advice = map[int]string{
	8:   "advice on how many nodes to have",
	39:  "what draining is for; rows 37, 38, 40 and 41 test it",
	67:  "which database the reference has",
	70:  "advice on where the database stands",
	71:  "advice against two sites at once",
	80:  "advice on where the share stands",
	92:  "how long a migration takes",
	97:  "which platforms scale",
	104: "licences; there are none here",
	105: "licences; there are none here",
	107: "what sizing depends on",
	96:  "advice to try the balancer before it is published",
	112: "advice to watch the machines",
	114: "who needs it",
	115: "guides of the reference",
}
