package convention

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
)

func TestAcquisition(t *testing.T) {
	w := newTarget(t)
	here := w.upload("Here", "1.0", map[string]string{"a": "1"})
	away := here
	away.Id, away.Hash = "Away", strings.Repeat("ab", 32)
	damaged := w.upload("Damaged", "1.0", map[string]string{"a": "2"})
	write(t, filepath.Join(w.home, damaged.Path()), "other")
	list := file(t)(PackagesFile([]Package{here, away, damaged}))
	r := w.run("find-packages", w.variables(here), list)
	r.want(t, 0)
	got := map[string]string{}
	for _, m := range r.others {
		got[m.Attributes["id"]] = m.Name + " " + m.Attributes["remotepath"] + m.Attributes["path"]
	}
	want := map[string]string{
		"Here": "foundPackage " + filepath.Join(w.home, here.Path()), "Away": PackageMissing + " " + away.Path(), "Damaged": PackageMissing + " " + damaged.Path(),
	}
	for k, v := range want {
		if !strings.EqualFold(got[k], v) {
			t.Errorf("%s: %q, want %q", k, got[k], v)
		}
	}
	r = w.run("find-packages", w.variables(here, "Octopus.Deployment.ForcePackageDownload", "True"), list)
	if r.want(t, 0); len(r.others) != 3 || strings.EqualFold(r.others[0].Name, FoundPackage) {
		t.Errorf("a forced download skips the cache: %v", r.others)
	}
	r = w.run("verify-packages", w.variables(here), file(t)(PackagesFile([]Package{here, damaged})))
	if r.code != 1 || !strings.Contains(r.message, "Damaged 1.0 arrived with other content") || exists(w.home, damaged.Path()) || len(r.others) != 1 {
		t.Errorf("%d %s %v", r.code, r.message, r.others)
	}
	if r := w.run("verify-packages", w.variables(here), file(t)(PackagesFile([]Package{{Id: "X", Version: "1"}}))); r.code != 1 {
		t.Error("a package without its sum was taken")
	}
}

func TestDownload(t *testing.T) {
	w := newTarget(t)
	data := zipOf(t, map[string]string{"a": "1"})
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked++
		user, password, _ := r.BasicAuth()
		switch {
		case user != "u" || password != "hush":
			rw.WriteHeader(http.StatusUnauthorized)
		case asked == 1:
			rw.WriteHeader(http.StatusBadGateway)
		default:
			rw.Write(data)
		}
	}))
	defer server.Close()
	p := Package{Id: "Web", Version: "1.0", FeedId: "Feeds-1", Extension: ".zip", Url: server.URL + "/p", UserName: "u", PasswordVariable: "SecretFeed"}
	r := w.run("download-packages", w.variables(p, "SecretFeed", "hush"), file(t)(PackagesFile([]Package{p})))
	r.want(t, 0)
	if read(t, w.home, p.Path()) != string(data) || asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	w.run("download-packages", w.variables(p, "SecretFeed", "hush"), file(t)(PackagesFile([]Package{p}))).want(t, 0)
	if asked != 2 {
		t.Error("what is in the cache was fetched again")
	}
	p.Hash = strings.Repeat("00", 32)
	if r := w.run("download-packages", w.variables(p, "SecretFeed", "hush"), file(t)(PackagesFile([]Package{p}))); r.code != 1 || !strings.Contains(r.message, "other content") || exists(w.home, p.Path()) {
		t.Errorf("%d %s", r.code, r.message)
	}
	if r := w.run("download-packages", w.variables(p, "SecretFeed", "wrong"), file(t)(PackagesFile([]Package{p}))); r.code != 1 || !strings.Contains(r.message, "401") || strings.Contains(r.out+r.err, "wrong") {
		t.Errorf("%d %s", r.code, r.message)
	}
	entries, _ := os.ReadDir(filepath.Join(w.home, "Files"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), partialDownload) {
			t.Errorf("%s was left", e.Name())
		}
	}
}

func TestTrimCache(t *testing.T) {
	w := newTarget(t)
	var all []Package
	for n := range 4 {
		p := w.upload("P"+strconv.Itoa(n), "1.0", map[string]string{"a": strconv.Itoa(n)})
		all = append(all, p)
		for range n + 1 { // the higher the number, the more it is worth
			w.run("find-packages", w.variables(p, "Octopus.Task.Id", "ServerTasks-"+strconv.Itoa(n)), file(t)(PackagesFile([]Package{p}))).want(t, 0)
		}
	}
	none := file(t)(RetentionFile(nil))
	left := func() (ids []string) {
		for _, p := range all {
			if exists(w.home, p.Path()) {
				ids = append(ids, p.Id)
			}
		}
		return ids
	}
	quantities := func(packages, versions string) []string {
		return []string{"MachinePackageCacheRetentionStrategy", "Quantities", "MachinePackageCacheRetentionQuantityOfPackagesToKeep", packages, "MachinePackageCacheRetentionQuantityOfVersionsToKeep", versions}
	}
	w.run("trim-cache", w.variables(all[0], quantities("1", "1")...)).want(t, 0)
	if diff := cmp.Diff([]string{"P0", "P1", "P2", "P3"}, left()); diff != "" {
		t.Error("packages in use are spared", diff)
	}
	for n := range 3 {
		w.run("clean", w.variables(all[0], "Octopus.Task.Id", "ServerTasks-"+strconv.Itoa(n)), none).want(t, 0)
	}
	w.run("trim-cache", w.variables(all[0], quantities("2", "1")...)).want(t, 0)
	if diff := cmp.Diff([]string{"P2", "P3"}, left()); diff != "" {
		t.Error(diff)
	}
	// A disk is never more than 100 % free, so everything that is not in use goes.
	w.run("trim-cache", w.variables(all[0], "OctopusPackageRetentionPercentFreeDiskSpace", "100")).want(t, 0)
	if diff := cmp.Diff([]string{"P3"}, left()); diff != "" {
		t.Error(diff)
	}
	write(t, filepath.Join(w.home, "Files", cacheIndex), "{broken")
	w.run("trim-cache", w.variables(all[0])).want(t, 0)
}

func TestWorthAges(t *testing.T) {
	now := time.Now()
	old := cached{Uses: 5, LastUse: now.Add(-4 * halfLife).UnixMilli()}
	young := cached{Uses: 1, LastUse: now.UnixMilli()}
	if old.worth(now) >= young.worth(now) {
		t.Errorf("five uses of long ago are worth %v, one of today %v", old.worth(now), young.worth(now))
	}
}

// age moves the journal's entries into the past, the first one the furthest.
func (w *target) age(days ...int) {
	w.t.Helper()
	err := changeJournal(w.journal(), func(root *etree.Element) {
		for i, e := range root.SelectElements("Deployment") {
			e.CreateAttr("InstalledOn", time.Now().AddDate(0, 0, -days[i]).UTC().Format(journalTime))
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestClean(t *testing.T) {
	w := newTarget(t)
	set := RetentionSetName("Environments-1", "Projects-1", "Web", "Machines-1", "")
	var dirs []string
	deploy := func(version, body string, more ...string) {
		r := w.run("deploy-package", w.variables(w.upload("Web", version, map[string]string{"Deploy.sh": body, "a": ""}), more...))
		dirs = append(dirs, r.outputs["Package.InstallationDirectoryPath"])
	}
	deploy("1", "exit 0")
	deploy("2", "exit 1")
	deploy("3", "exit 0")
	deploy("4", "exit 0")
	deploy("5", "exit 0", "Octopus.Environment.Id", "Environments-2", "Octopus.Environment.Name", "Prod") // another set
	write(t, filepath.Join(w.apps, "Dev", "Web", "by hand", "x"), "")
	w.age(5, 4, 3, 2, 9)
	left := func() (n []int) {
		for i, d := range dirs {
			if exists(d) {
				n = append(n, i+1)
			}
		}
		return n
	}
	clean := func(s RetentionSet) {
		t.Helper()
		s.Set = set
		w.run("clean", w.variables(Package{Id: "Web", Version: "4"}), file(t)(RetentionFile([]RetentionSet{s}))).want(t, 0)
	}
	clean(RetentionSet{})
	clean(RetentionSet{Items: 3})
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5}, left()); diff != "" {
		t.Error("at most three successful ones: nothing goes", diff)
	}
	clean(RetentionSet{Items: 1})
	if diff := cmp.Diff([]int{3, 4, 5}, left()); diff != "" {
		t.Error(diff)
	}
	clean(RetentionSet{Days: 1})
	if diff := cmp.Diff([]int{4, 5}, left()); diff != "" {
		t.Error("the newest successful one stays whatever its age", diff)
	}
	all, err := readJournal(w.journal())
	if err != nil || len(all) != 2 {
		t.Errorf("%v %v", all, err)
	}
	if !exists(w.apps, "Dev", "Web", "by hand", "x") {
		t.Error("what is not in the journal is nobody's")
	}
}

func TestLeftovers(t *testing.T) {
	w := newTarget(t)
	old := []string{filepath.Join(w.home, "Files", partialDownload+"1"), filepath.Join(w.apps, "Dev", "Web", ".octavo-extract-1", "f")}
	fresh := filepath.Join(w.apps, "Dev", "Web", ".octavo-extract-2")
	for _, f := range append(old, filepath.Join(fresh, "f")) {
		write(t, f, "")
	}
	past := time.Now().Add(-25 * time.Hour)
	for _, f := range []string{old[0], filepath.Dir(old[1])} {
		if err := os.Chtimes(f, past, past); err != nil {
			t.Fatal(err)
		}
	}
	w.run("clean", w.variables(Package{Id: "Web", Version: "4"}), file(t)(RetentionFile(nil))).want(t, 0)
	if exists(old[0]) || exists(old[1]) || !exists(fresh) {
		t.Error("old ones go, fresh ones stay")
	}
}
