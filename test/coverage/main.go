// Command coverage writes docs/behaviour-coverage.md: which of the numbered behaviours of a cluster has which tests, and
// what is left.
//
//	go run ./test/coverage           writes the page
//	go run ./test/coverage -remove   takes each line out that the page names, runs its test, and wants it to fail
//
// A test covers a row when its name, or that of a subtest, has the row in it: TestPingRow43Row44, t.Run("Row45", ...).
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run github.com/octavo/octavo/test/coverage -root ../..

func main() {
	root := flag.String("root", ".", "folder of the source tree")
	only := flag.Int("row", 0, "with -remove: this row only")
	remove := flag.Bool("remove", false, "try the removals instead of writing the page")
	flag.Parse()
	if err := run(*root, *remove, *only); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(root string, remove bool, only int) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if remove {
		return tryRemovals(root, only)
	}
	text, err := page(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, where), text, 0o644)
}
