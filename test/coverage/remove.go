package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// removal is a line without which a row's test must fail.
type removal struct {
	row           int
	file          string // from the root
	line, becomes string // the text as it stands in the file, once; what replaces it
	test          string // its name
	in            string // its package, from the root
}

// edited is the file's text without the line.
func (r removal) edited(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, r.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(text, []byte(r.line)); n != 1 {
		return nil, fmt.Errorf("row %d: %s has %q %d times, not once; put test/coverage/removals.go right", r.row, r.file, r.line, n)
	}
	return bytes.Replace(text, []byte(r.line), []byte(r.becomes), 1), nil
}

// tryRemovals takes out one line after the other, or that of one row only, and runs its test.
func tryRemovals(root string, only int) error {
	dir, err := os.MkdirTemp("", "octavo-removal-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var wrong []error
	for _, r := range removals {
		if only != 0 && r.row != only {
			continue
		}
		started := time.Now()
		said, err := r.try(root, dir)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("row %d: %s without %q: %w", r.row, r.test, r.line, err))
			said = "WRONG"
		}
		fmt.Printf("row %-4d %-60s %s (%.0f s)\n", r.row, r.test, said, time.Since(started).Seconds())
	}
	return errors.Join(wrong...)
}

// try runs the test on a tree in which one file is another: go's overlay, which builds inside the test inherit.
func (r removal) try(root, dir string) (string, error) {
	text, err := r.edited(root)
	if err != nil {
		return "", err
	}
	file, overlay := filepath.Join(dir, filepath.Base(r.file)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, r.file): file}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "^"+r.test+"$", "./"+r.in)
	test.Dir = root
	test.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -overlay="+overlay))
	out, err := test.CombinedOutput()
	switch {
	case err == nil:
		return "", errors.New("the test passes")
	case !strings.Contains(string(out), "--- FAIL: "+r.test):
		return "", fmt.Errorf("the test did not run: %w\n%s", err, out)
	}
	return "fails, as it must", nil
}
