package deployment_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
)

// vector is one scenario; deployments.md 14 says how to read it.
type vector struct {
	Id, Kind, Title string
	Rules           []string
	Given, Expect   json.RawMessage
}

// runners carry out the kinds of vectors that belong to the nouns.
var runners = map[string]func(t *testing.T, v vector){
	"plan": runPlan,
	"run":  runPlan,
}

// elsewhere are the kinds that other packages run.
var elsewhere = map[string]string{
	"conventions":             "internal/convention",
	"extract-directory":       "internal/convention",
	"skip-if-installed":       "internal/convention",
	"target-retention":        "internal/convention",
	"package-cache-retention": "internal/convention",
}

// TestVectors runs every scenario of the kinds above and says how many there were.
func TestVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/deployment-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, v := range file.Vectors {
		run, ours := runners[v.Kind]
		if !ours {
			if elsewhere[v.Kind] == "" {
				t.Errorf("%s: nobody runs kind %s", v.Id, v.Kind)
			}
			continue
		}
		ran[v.Kind]++
		t.Run(v.Kind+"/"+v.Id, func(t *testing.T) {
			t.Logf("%s %v", v.Title, v.Rules)
			run(t, v)
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(runners)) {
		if ran[kind] == 0 {
			t.Errorf("no vector of kind %s", kind)
		}
		t.Logf("%-22s %d vectors", kind, ran[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(elsewhere)) {
		t.Logf("%-22s not here: %s", kind, elsewhere[kind])
	}
}

// read takes a vector's part into a struct.
func read[T any](t *testing.T, raw json.RawMessage) T {
	t.Helper()
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
