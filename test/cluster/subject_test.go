package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/db"
)

// numbers is how far the counting script counts.
const numbers = 15

// password is what nobody may ever read in a log.
const password = "Correct-Horse-77-Battery"

// subject is the deployment that is done over and over: a package with a script of its own on two agents, a script
// that counts, and a script on the server. Each script writes what it does into the witness folder as it does it.
type subject struct {
	*installation
	project object
	n       int // releases so far
}

const countScript = `
name=$(get_octopusvariable "Octopus.Machine.Name")
witness="@W/$(get_octopusvariable "Octopus.Task.Id").count.$name"
echo start >> "$witness"
echo "The password is $(get_octopusvariable Password)."
for n in $(seq 1 @N); do
	echo "$n" >> "$witness"
	echo "n $n"
	sleep 0.07
done
set_octopusvariable Total "@N of $name"
set_octopusvariable Hidden "hidden-@N-of-$name" -sensitive
new_octopusartifact "$witness" "count-$name.txt"
echo end >> "$witness"
`

const serverScript = `
witness="@W/$(get_octopusvariable "Octopus.Task.Id").server"
echo start >> "$witness"
for name in listening polling; do
	get_octopusvariable "Octopus.Action[Count].Output[$name].Total" >> "$witness"
	echo >> "$witness"
done
sleep 0.4
echo "on the server"
echo "hidden: $(get_octopusvariable "Octopus.Action[Count].Output[polling].Hidden")"
echo end >> "$witness"
`

// deployScript is part of the package.
const deployScript = `#!/bin/bash
witness="@W/$(get_octopusvariable "Octopus.Task.Id").deploy.$(get_octopusvariable "Octopus.Machine.Name")"
echo "start $PWD" >> "$witness"
cat app.conf >> "$witness"
echo end >> "$witness"
`

// newSubject makes an installation with two agents and the project.
func newSubject(t *testing.T, engine db.Engine, flags ...string) *subject {
	t.Helper()
	s := &subject{installation: install(t, engine, flags...)}
	if err := os.MkdirAll(s.path("witness"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.environment("Test")
	s.addAgent("listening", false, []string{"app"}, "Test")
	s.addAgent("polling", true, []string{"app"}, "Test")
	s.project = s.installation.project("Subject", []object{
		packageStep("Install", "app", "app", object{
			"Octopus.Action.EnabledFeatures": "Octopus.Features.SubstituteInFiles", "Octopus.Action.SubstituteInFiles.TargetFiles": "app.conf",
		}),
		scriptStep("Count", "app", s.fill(countScript)),
		{"Name": "Approve", "Properties": object{}, "Actions": []object{{"Name": "Approve", "ActionType": "Octopus.Manual", "Properties": object{}}}},
		scriptStep("Report", "", s.fill(serverScript)),
	}, []object{
		{"Name": "Greeting", "Value": "Hello"},
		{"Name": "Password", "Value": password, "IsSensitive": true, "Type": "Sensitive"},
	})
	return s
}

func (s *subject) fill(script string) string {
	return strings.NewReplacer("@W", s.path("witness"), "@N", fmt.Sprint(numbers)).Replace(script)
}

// next makes another release with a package of its own, so that packages are brought to the agents anew.
func (s *subject) next() (version string) {
	s.t.Helper()
	s.n++
	version = fmt.Sprintf("1.0.%d", s.n)
	s.upload("app."+version+".zip", map[string]string{
		"app.conf": "#{Greeting} from #{Octopus.Machine.Name}, " + version + "\n", "Deploy.sh": s.fill(deployScript),
	})
	s.release(s.project, version, version)
	return version
}

func (s *subject) witness(task, what string) (lines []string) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("witness", task+"."+what))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// counted says whether the counting is over on both targets, so that the script on the server may have begun.
func (s *subject) counted(task string) bool {
	for _, a := range s.agents {
		if lines := s.witness(task, "count."+a.name); len(lines) == 0 || lines[len(lines)-1] != "end" {
			return false
		}
	}
	return true
}

// interrupted is what the log says of a script on the server that had started when the server died.
const interrupted = "The script ran on a server that stopped"

// check holds a finished deployment against what must be true whatever happened meanwhile. It gives false
// when the script on the server was interrupted, which the caller has to have allowed.
func (s *subject) check(t *testing.T, id, version string, mayInterrupt bool) (whole bool) {
	t.Helper()
	end := s.task(id)
	raw, tree := s.raw(id), s.details(id)
	whole = !strings.Contains(raw, interrupted)
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf(format, args...)
	}
	switch {
	case whole && end.State != "Success":
		fail("%s is %s: %s", id, end.State, end.ErrorMessage)
	case !whole && !mayInterrupt:
		fail("the script on the server was interrupted, though it cannot have started")
	case !whole && (end.State != "Failed" || !strings.Contains(end.ErrorMessage, "Report")):
		fail("interrupted, but %s: %s", end.State, end.ErrorMessage)
	}

	for _, once := range []string{"Waiting for a person: Approve.", "answered: Proceed. said by the test"} {
		if n := strings.Count(raw, once); n != 1 {
			fail("%q is in the log %d times", once, n)
		}
	}
	if end.HasPendingInterruptions {
		fail("something is still asked")
	}

	report := s.witness(id, "server")
	want := []string{"start"}
	for _, a := range s.agents {
		s.checkTarget(t, id, version, a, raw, tree)
		want = append(want, fmt.Sprintf("%d of %s", numbers, a.name))
	}
	want = append(want, "end")
	if whole && !slices.Equal(report, want) {
		fail("the server's script wrote %q, want %q", report, want)
	}
	if !whole && len(report) > 0 && !slices.Equal(report, want[:min(len(report), len(want))]) {
		fail("the interrupted script of the server wrote %q, want a beginning of %q", report, want)
	}
	if whole && strings.Count(raw, "|   on the server\n") != 1 {
		fail("the server's script's line is not in the log exactly once")
	}
	for _, secret := range []string{password, fmt.Sprintf("hidden-%d-of-", numbers)} {
		if strings.Contains(raw, secret) {
			fail("the raw log shows %q", secret)
		}
		for _, root := range tree.ActivityLogs {
			root.each(func(path []string, a activity) {
				if strings.Contains(strings.Join(a.lines(), "\n"), secret) {
					fail("the log tree shows %q at %v", secret, path)
				}
			})
		}
	}
	s.checkRows(t, id)
	if t.Failed() {
		t.Logf("raw log of %s:\n%s", id, raw)
	}
	return whole
}

var rawSection = regexp.MustCompile(`^ +\| == (.*) ==$`)

// section is what the raw log shows under one heading, without stamps and categories.
func section(raw, heading string) (lines []string) {
	in := false
	for line := range strings.Lines(raw) {
		line = strings.TrimRight(line, "\n")
		if m := rawSection.FindStringSubmatch(line); m != nil {
			in = strings.HasSuffix(m[1], heading)
			continue
		}
		if _, text, ok := strings.Cut(line, " |   "); ok && in {
			lines = append(lines, text)
		}
	}
	return lines
}

func (s *subject) checkTarget(t *testing.T, id, version string, a *agentProcess, raw string, tree details) {
	t.Helper()
	want := []string{"start"}
	var said []string
	for n := range numbers {
		want = append(want, fmt.Sprint(n+1))
		said = append(said, fmt.Sprintf("n %d", n+1))
	}
	if got := s.witness(id, "count."+a.name); !slices.Equal(got, append(want, "end")) {
		t.Errorf("%s: the counting script wrote %q", a.name, got)
	}
	counted := func(lines []string) (only []string) {
		for _, line := range lines {
			if strings.HasPrefix(line, "n ") {
				only = append(only, line)
			}
		}
		return only
	}
	lane := tree.at(t, "Step 2: Count", a.name)
	if got := counted(lane.lines()); !slices.Equal(got, said) {
		t.Errorf("%s: the log tree has %q", a.name, got)
	}
	if got := counted(section(raw, "Step 2: Count / "+a.name)); !slices.Equal(got, said) {
		t.Errorf("%s: the raw log has %q", a.name, got)
	}
	if got := strings.Join(lane.lines(), "\n"); strings.Count(got, "The password is ********.") != 1 {
		t.Errorf("%s: the masked line is not in the log exactly once:\n%s", a.name, got)
	}
	if lane.Status != "Success" {
		t.Errorf("%s: the log tree shows %s for the counting", a.name, lane.Status)
	}

	deployed := s.witness(id, "deploy."+a.name)
	conf := fmt.Sprintf("Hello from %s, %s", a.name, version)
	if len(deployed) != 3 || !strings.HasPrefix(deployed[0], "start ") || deployed[1] != conf || deployed[2] != "end" {
		t.Errorf("%s: the package's script wrote %q, want start, %q, end", a.name, deployed, conf)
		return
	}
	folder := strings.TrimPrefix(deployed[0], "start ")
	if got, err := os.ReadFile(filepath.Join(folder, "app.conf")); err != nil || string(got) != conf+"\n" {
		t.Errorf("%s: app.conf is %q (%v), want %q", a.name, got, err, conf)
	}
	folders, err := filepath.Glob(filepath.Join(filepath.Dir(folder), version+"*"))
	if err != nil || len(folders) != 1 {
		t.Errorf("%s: version %s was installed to %v", a.name, version, folders)
	}
}

// checkRest looks for the secret in everything that server and agents keep on the disk: it may lie there sealed only.
func (i *installation) checkRest(t *testing.T, secret string) {
	t.Helper()
	err := filepath.WalkDir(i.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err == nil && strings.Contains(string(text), secret) {
			t.Errorf("%s holds the secret in plain", path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
}

// checkRows looks where REST does not reach: each script was given to an agent under one ticket, each artifact
// was collected once, and every script is over.
func (s *subject) checkRows(t *testing.T, id string) {
	t.Helper()
	d, err := db.Open(context.Background(), s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := context.Background()
	var artifacts, open, ends int
	var state string
	err = d.Read(ctx, func(tx *db.Tx) error {
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM artifact WHERE task = $1", id).Scan(&artifacts); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM script_run WHERE task = $1 AND state IN ('planned', 'started')", id).Scan(&open); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM queue WHERE task = $1", id).Scan(&ends); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT state FROM task WHERE id = $1", id).Scan(&state)
	})
	if err != nil {
		t.Fatal(err)
	}
	if artifacts != len(s.agents) || open != 0 || ends != 0 {
		t.Errorf("%d artifacts (want %d), %d scripts not over, %d rows in the queue; %s", artifacts, len(s.agents), open, ends, state)
	}
}
