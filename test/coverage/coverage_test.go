package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestPageIsCurrent holds that the page says what the tests' names say.
func TestPageIsCurrent(t *testing.T) {
	want, err := page("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join("../..", where))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date; write it with: go run ./test/coverage", where)
	}
}

// TestRemovalsAreThere holds that each line which is to be taken out stands in its file, and that its test names the row.
func TestRemovalsAreThere(t *testing.T) {
	all, err := tests("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range removals {
		if _, err := r.edited("../.."); err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(all, func(f found) bool {
			return f.row == r.row && f.name == r.test && filepath.ToSlash(filepath.Dir(f.file)) == r.in
		}) {
			t.Errorf("no test %s in %s names row %d", r.test, r.in, r.row)
		}
	}
}
