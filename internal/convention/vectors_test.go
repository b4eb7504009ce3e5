package convention

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type vector struct {
	Id, Kind, Title string //nolint:revive // the file's names
	Given, Expect   json.RawMessage
}

// TestVectors runs the examples of the specification (deployments.md 14).
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Vectors []vector }
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, v := range all.Vectors {
		run, ok := map[string]func(*testing.T, vector){
			"target-retention": vectorRetention, "package-cache-retention": vectorCache, "conventions": vectorConventions,
			"extract-directory": vectorDirectory, "skip-if-installed": vectorInstalled,
		}[v.Kind]
		if !ok {
			t.Fatalf("%s has the unknown kind %s", v.Id, v.Kind)
		}
		ran[v.Kind]++
		t.Run(v.Id+" "+v.Title, func(t *testing.T) { run(t, v) })
	}
	if diff := cmp.Diff(map[string]int{
		"target-retention": 3, "package-cache-retention": 1, "conventions": 4, "extract-directory": 4, "skip-if-installed": 5,
	}, ran); diff != "" {
		t.Error(diff)
	}
}

func (v vector) read(t *testing.T, given, expect any) {
	t.Helper()
	for raw, to := range map[*json.RawMessage]any{&v.Given: given, &v.Expect: expect} {
		if err := json.Unmarshal(*raw, to); err != nil {
			t.Fatal(err)
		}
	}
}

func vectorRetention(t *testing.T, v vector) {
	var given struct {
		PolicySet      string
		Releases, Days int
		Journal        []struct {
			Id, RetentionPolicySet, ExtractedTo string //nolint:revive // the file's names
			AgeDays                             float64
			WasSuccessful                       bool
		}
	}
	var expect struct{ RemovedEntries, RemovedDirectories []string }
	v.read(t, &given, &expect)
	now := time.Now()
	var all []installation
	for _, e := range given.Journal {
		all = append(all, installation{
			Id: e.Id, Set: e.RetentionPolicySet, ExtractedTo: e.ExtractedTo, Successful: e.WasSuccessful,
			InstalledOn: now.Add(-time.Duration(e.AgeDays * 24 * float64(time.Hour))),
		})
	}
	a := &action{apps: "/apps"}
	set := inSet(all, func(s string) bool { return s == given.PolicySet })
	entries, dirs := a.removable(all, outdated(set, RetentionSet{given.PolicySet, given.Releases, given.Days}, now))
	ids := []string{}
	for _, e := range entries {
		ids = append(ids, e.Id)
	}
	if diff := cmp.Diff(expect.RemovedEntries, ids); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(expect.RemovedDirectories, append([]string{}, dirs...)); diff != "" {
		t.Error(diff)
	}
}

func vectorCache(t *testing.T, v vector) {
	var given struct {
		TotalBytes, FreeBytes int64
		Entries               []struct {
			Id        string //nolint:revive // the file's name
			SizeBytes int64
		}
	}
	var expect struct {
		BytesToFree int64
		Removed     []string
	}
	v.read(t, &given, &expect)
	var least []cached
	for _, e := range given.Entries {
		least = append(least, cached{Id: e.Id, Size: e.SizeBytes})
	}
	need, remove := makeRoom(given.TotalBytes, given.FreeBytes, 20, least)
	var ids []string
	for _, c := range remove {
		ids = append(ids, c.Id)
	}
	if need != expect.BytesToFree {
		t.Errorf("%d bytes to free, want %d", need, expect.BytesToFree)
	}
	if diff := cmp.Diff(expect.Removed, ids); diff != "" {
		t.Error(diff)
	}
}

func vectorDirectory(t *testing.T, v vector) {
	var given struct {
		Root, Tenant, Environment, PackageId, Version string //nolint:revive // the file's names
		Existing                                      []string
	}
	var expect struct{ Path string }
	v.read(t, &given, &expect)
	root := t.TempDir()
	for _, dir := range given.Existing {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := claimDirectory(extractionDirectory(filepath.Join(root, given.Root), given.Tenant, given.Environment, given.PackageId, given.Version))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, expect.Path); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// vectorInstalled deploys for real, each time into the same journal.
func vectorInstalled(t *testing.T, v vector) {
	var given struct {
		Skip, Force        bool
		PackageId, Version string //nolint:revive // the file's names
		Journal            []struct {
			PackageId, Version string //nolint:revive // the file's names
			Ok                 bool
		}
	}
	var expect struct{ Result string }
	v.read(t, &given, &expect)
	w := newTarget(t)
	for _, e := range given.Journal {
		body := "exit 0"
		if !e.Ok {
			body = "exit 1"
		}
		code := 1
		if e.Ok {
			code = 0
		}
		w.run("deploy-package", w.variables(w.upload(e.PackageId, e.Version, map[string]string{"Deploy.sh": body}))).want(t, code)
	}
	before, err := readJournal(w.journal())
	if err != nil {
		t.Fatal(err)
	}
	r := w.run("deploy-package", w.variables(w.upload(given.PackageId, given.Version, map[string]string{"a": "x"}),
		"Octopus.Action.Package.SkipIfAlreadyInstalled", title(given.Skip), "Octopus.Deployment.ForcePackageRedeployment", title(given.Force)))
	r.want(t, 0)
	after, err := readJournal(w.journal())
	if err != nil {
		t.Fatal(err)
	}
	got := "installed"
	if len(after) == len(before) {
		got = "skipped"
	}
	if got != expect.Result {
		t.Errorf("%s, want %s", got, expect.Result)
	}
	if got == "skipped" && r.outputs["Package.InstallationDirectoryPath"] != before[len(before)-1].ExtractedTo {
		t.Errorf("outputs %v", r.outputs)
	}
}

func vectorConventions(t *testing.T, v vector) {
	var given struct {
		EnabledFeatures, Packaged, Inline, Files []string
		Platform                                 string
		Outcomes                                 map[string]string
		Outputs                                  map[string]map[string]string
	}
	var expect struct {
		Order, Deleted []string
		Journal        string
		Run            *string
	}
	v.read(t, &given, &expect)
	if given.Files != nil {
		dir := t.TempDir()
		for _, f := range given.Files {
			write(t, filepath.Join(dir, f), "exit 0")
		}
		for _, stage := range []string{"PreDeploy", "Deploy", "PostDeploy", "DeployFailed"} {
			chosen, all, err := packagedScript(dir, stage, given.Platform)
			if err != nil || (chosen != "") != (expect.Run != nil) || expect.Run != nil && chosen != *expect.Run || len(all) != len(expect.Deleted) {
				t.Errorf("%s: %q %v %v", stage, chosen, all, err)
			}
		}
		return
	}
	w := newTarget(t)
	body := func(place string) string {
		text := fmt.Sprintf("echo %q >> \"$(get_octopusvariable Log)\"\n", place)
		for name, value := range given.Outputs[place] {
			text += fmt.Sprintf("set_octopusvariable %q %q\n", name, value)
		}
		if given.Outcomes[place] == "fail" {
			text += "exit 3\n"
		}
		return text
	}
	files := map[string]string{"content.txt": "x"}
	for _, stage := range given.Packaged {
		files[stage+".sh"] = body(stage + " packaged")
	}
	scriptLog := filepath.Join(t.TempDir(), "log")
	more := []string{varFeatures, strings.Join(given.EnabledFeatures, ","), "Log", scriptLog, varCustomDir, filepath.Join(t.TempDir(), "custom")}
	for _, stage := range given.Inline {
		more = append(more, "Octopus.Action.CustomScripts."+stage+".sh", body(stage+" inline"))
	}
	p := w.upload("Web", "1.0.0", files)
	dir := t.TempDir()
	sealed, err := VariableFiles(w.variables(p, more...))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sealed {
		write(t, filepath.Join(dir, f.Name), string(f.Content))
	}
	var out, errs bytes.Buffer
	a, err := newAction(t.Context(), dir, w.environ(), &out, &errs)
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.newDeployment()
	if err != nil {
		t.Fatal(err)
	}
	err = d.deploy()
	if (err != nil) != (len(given.Outcomes) > 0) {
		t.Errorf("%v\n%s\n%s", err, out.String(), errs.String())
	}
	if diff := cmp.Diff(expect.Order, d.visited); diff != "" {
		t.Error(diff)
	}
	journal, err := readJournal(w.journal())
	if err != nil || len(journal) != 1 || journal[0].Successful != (expect.Journal == "success") {
		t.Errorf("journal %v %v, want %s", journal, err, expect.Journal)
	}
	// What really ran must be the scripts among the visited entries, in that order.
	var want []string
	for _, place := range expect.Order {
		stage, how, _ := strings.Cut(place, " ")
		has := map[string][]string{"packaged": given.Packaged, "inline": given.Inline}[how]
		for _, s := range has {
			if s == stage {
				want = append(want, place)
			}
		}
	}
	got := strings.Split(strings.TrimSpace(read(t, scriptLog)), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
