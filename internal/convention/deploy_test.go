package convention

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/script"
)

func TestDeployWritesWhatOthersRead(t *testing.T) {
	w := newTarget(t)
	p := w.upload("Web", "1.0", map[string]string{"a.txt": "1", "DeployFailed.sh": "exit 0", "Deploy.sh": "pwd\n"})
	r := w.run("deploy-package", w.variables(p, "Octopus.Deployment.Tenant.Id", "Tenants-1", "Octopus.Deployment.Tenant.Name", "Acme: <x>"))
	r.want(t, 0)
	dir := filepath.Join(w.apps, "Acme x", "Dev", "Web", "1.0")
	if diff := cmp.Diff(map[string]string{"Package.InstallationDirectoryPath": dir, "Package.ExtractedFileCount": "3"}, r.outputs); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(r.out, "\n"+dir+"\n") {
		t.Errorf("the script did not run in %s:\n%s", dir, r.out)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != "a.txt" {
		t.Errorf("scripts must be gone after success, found %v", entries)
	}
	journal, err := readJournal(w.journal())
	if err != nil || len(journal) != 1 {
		t.Fatal(journal, err)
	}
	got := journal[0]
	got.Id, got.InstalledOn = "", journal[0].InstalledOn.AddDate(-10000, 0, 0)
	want := installation{
		EnvironmentId: "Environments-1", TenantId: "Tenants-1", ProjectId: "Projects-1", InstalledOn: got.InstalledOn,
		Set:         "Environments-1/Projects-1/Step-Web/Machines-1/Tenants-1",
		ExtractedTo: dir, Successful: true, Packages: []installedPackage{{"Web", "1.0", filepath.Join(w.home, p.Path())}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"<Deployments>", `<Deployment Id="`, `EnvironmentId="Environments-1"`, `InstalledOn="20`, `WasSuccessful="True"`, `<Package PackageId="Web" PackageVersion="1.0" DeployedFrom="`} {
		if text := read(t, w.journal()); !strings.Contains(text, part) {
			t.Errorf("the journal has no %s:\n%s", part, text)
		}
	}
}

func TestPreviousInstallation(t *testing.T) {
	w := newTarget(t)
	w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"a": ""}))).want(t, 0)
	w.run("deploy-package", w.variables(w.upload("Web", "2.0", map[string]string{"Deploy.sh": "exit 1"}))).want(t, 1)
	r := w.run("deploy-package", w.variables(w.upload("Web", "3.0", map[string]string{"Deploy.sh": `
echo "<$(get_octopusvariable Octopus.Tentacle.PreviousInstallation.PackageVersion)>"
echo "<$(get_octopusvariable Octopus.Tentacle.PreviousSuccessfulInstallation.PackageVersion)>"
echo "<$(get_octopusvariable Octopus.Tentacle.PreviousInstallation.CustomInstallationDirectory)>"`})))
	r.want(t, 0)
	if !strings.Contains(r.out, "<2.0>\n<1.0>\n<>\n") {
		t.Error(r.out)
	}
}

func TestUnreadableJournalIsKept(t *testing.T) {
	w := newTarget(t)
	write(t, w.journal(), "<Deployments><Depl")
	r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"a": ""})))
	if r.code == 0 || !strings.Contains(r.err, w.journal()) || read(t, w.journal()) != "<Deployments><Depl" {
		t.Errorf("%d %s", r.code, r.err)
	}
	write(t, w.journal(), `<Deployments><Deployment Id="old" PackageId="Web" PackageVersion="0.9" ExtractedFrom="/x" WasSuccessful="true" RetentionPolicySet="s" Other="kept"><Extra/></Deployment></Deployments>`)
	w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"a": ""}))).want(t, 0)
	all, err := readJournal(w.journal())
	if err != nil || len(all) != 2 || all[0].Packages[0] != (installedPackage{"Web", "0.9", "/x"}) {
		t.Errorf("%v %v", all, err)
	}
	if text := read(t, w.journal()); !strings.Contains(text, `Other="kept"`) || !strings.Contains(text, "<Extra/>") {
		t.Error(text)
	}
}

func TestFailureRunsDeployFailedAndKeepsTheFirstError(t *testing.T) {
	w := newTarget(t)
	r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{
		"PostDeploy.sh": "fail_step 'out of order'\n", "DeployFailed.sh": "echo tidying up; exit 9",
	})))
	r.want(t, 1)
	if !strings.Contains(r.out, "tidying up") || r.message != "out of order" || !strings.Contains(r.err, "PostDeploy.sh returned exit code 1") {
		t.Errorf("%s\n%s\n%s", r.message, r.out, r.err)
	}
	dir := r.outputs["Package.InstallationDirectoryPath"]
	if !exists(dir, "PostDeploy.sh") {
		t.Error("a failing script stays for inspection")
	}
}

func TestTwoAtOnceGetTwoDirectories(t *testing.T) {
	w := newTarget(t)
	p := w.upload("Web", "1.0.0", map[string]string{"a": "", "Deploy.sh": "sleep 0.1"})
	var wg sync.WaitGroup
	results := make([]result, 4)
	for i := range results {
		wg.Go(func() { results[i] = w.run("deploy-package", w.variables(p)) })
	}
	wg.Wait()
	dirs := map[string]bool{}
	for _, r := range results {
		r.want(t, 0)
		dirs[filepath.Base(r.outputs["Package.InstallationDirectoryPath"])] = true
	}
	if diff := cmp.Diff(map[string]bool{"1.0.0": true, "1.0.0_1": true, "1.0.0_2": true, "1.0.0_3": true}, dirs); diff != "" {
		t.Error(diff)
	}
	if all, err := readJournal(w.journal()); err != nil || len(all) != 4 {
		t.Errorf("%d entries, %v", len(all), err)
	}
}

func TestCustomDirectory(t *testing.T) {
	w := newTarget(t)
	custom := filepath.Join(t.TempDir(), "site")
	for _, f := range []string{"old.txt", "Config/a/b", "Config/c", "logs/x.log", "logs/y.txt", "gone/deep/z"} {
		write(t, filepath.Join(custom, f), "old")
	}
	files := map[string]string{"new.txt": "new", "sub/s.txt": "s", "Deploy.sh": "pwd; echo \"$(get_octopusvariable Octopus.Action.Package.CustomInstallationDirectory)\""}
	given := []string{
		varFeatures, "Octopus.Features.CustomDirectory", varCustomDir, "#{Root}/site", "Root", filepath.Dir(custom),
		"Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment", "true",
		"Octopus.Action.Package.CustomInstallationDirectoryPurgeExclusions", "Config\r\nlogs/*.log",
	}
	r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", files), given...))
	r.want(t, 0)
	got := map[string]bool{}
	filepath.WalkDir(custom, func(path string, d os.DirEntry, _ error) error {
		if !d.IsDir() {
			rel, _ := filepath.Rel(custom, path)
			got[rel] = true
		}
		return nil
	})
	if diff := cmp.Diff(map[string]bool{"new.txt": true, "sub/s.txt": true, "Config/a/b": true, "Config/c": true, "logs/x.log": true}, got); diff != "" {
		t.Error(diff)
	}
	if exists(custom, "gone") {
		t.Error("an empty folder stayed")
	}
	if !strings.Contains(r.out, custom+"\n"+custom+"\n") || r.outputs["Package.InstallationDirectoryPath"] != custom || r.outputs["Package.CopiedFileCount"] != "3" {
		t.Errorf("%v\n%s", r.outputs, r.out)
	}
	if all, _ := readJournal(w.journal()); all[0].CustomDir != custom {
		t.Errorf("%+v", all)
	}
	for _, tt := range []struct{ dir, why string }{
		{"relative/site", "relative path"},
		{"/x/#{Missing}", "could not be evaluated"},
		{"", "no directory is given"},
		{filepath.Join(w.apps, "Dev", "Web", "2.0", "x"), "inside the extraction directory"},
		{w.apps, "never purged"},
		{"/", "never purged"},
	} {
		given[3] = tt.dir
		r := w.run("deploy-package", w.variables(w.upload("Web", "2.0", files), given...))
		if r.code != 1 || !strings.Contains(r.message, tt.why) {
			t.Errorf("%q: %d %s", tt.dir, r.code, r.message)
		}
		os.RemoveAll(filepath.Join(w.apps, "Dev", "Web", "2.0"))
	}
}

func TestSubstituteAndStructured(t *testing.T) {
	w := newTarget(t)
	utf16 := "\xff\xfe#\x00{\x00X\x00}\x00"
	p := w.upload("Web", "1.0", map[string]string{
		"a.txt": "#{X} #{Missing} ##{X}\n", "sub/b.txt": "no", "c.json": "{\n \"X\": \"old\",\n \"n\": 1\n}", "w.txt": "caf\xe9 #{X}", "u.txt": utf16,
		"d.conf": "X: old # yaml by content\n",
	})
	given := []string{
		varFeatures, "Octopus.Features.SubstituteInFiles,Octopus.Features.JsonConfigurationVariables",
		"Octopus.Action.SubstituteInFiles.TargetFiles", "*.txt\nnone/*.x", "Octopus.Action.Package.JsonConfigurationVariablesTargets", "**/*.json\nd.conf\nsub", "X", "1#{Y}", "Y", "ü",
	}
	r := w.run("deploy-package", w.variables(p, given...))
	r.want(t, 0)
	dir := r.outputs["Package.InstallationDirectoryPath"]
	for name, want := range map[string]string{
		"a.txt": "1ü #{Missing} #{X}\n", "sub/b.txt": "no", "c.json": "{\n \"X\": \"1ü\",\n \"n\": 1\n}", "w.txt": "caf\xe9 1\xfc", "u.txt": "\xff\xfe1\x00\xfc\x00",
		"d.conf": "X: 1ü # yaml by content\n",
	} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, said := range []string{"match the substitution target pattern 'none/*.x'", "Octostache returned the following error: `The following tokens were unable to be evaluated: '#{Missing}'`", "as it is a directory"} {
		if !strings.Contains(r.out, said) {
			t.Errorf("not said: %s\n%s", said, r.out)
		}
	}
	r = w.run("deploy-package", w.variables(p, append(given, "OctopusShouldFailDeploymentOnSubstitutionFails", "True")...))
	if r.code != 1 || !strings.Contains(r.message, "'#{Missing}'") {
		t.Errorf("%d %s", r.code, r.message)
	}
}

func TestSecretsStayInside(t *testing.T) {
	w := newTarget(t)
	seen := filepath.Join(t.TempDir(), "seen")
	r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"Deploy.sh": `
{ tr '\0' ' ' </proc/$PPID/cmdline; tr '\0' ' ' </proc/$$/cmdline; env; } >"` + seen + `"
[ "$(get_octopusvariable SecretKey)" = 'hush "hush"' ] || exit 5
set_octopusvariable Token 'new secret' -sensitive
`, "PostDeploy.sh": `[ "$(get_octopusvariable Token)" = 'new secret' ] && [ "$(get_octopusvariable 'Octopus.Action[Web].Output.Token')" = 'new secret' ]`}),
		"SecretKey", `hush "hush"`, "OctopusPrintEvaluatedVariables", "True"))
	r.want(t, 0)
	for place, text := range map[string]string{"process list or environment": read(t, seen), "log": r.out + r.err} {
		if strings.Contains(text, "hush") {
			t.Errorf("the secret is in the %s", place)
		}
	}
	if r.outputs["Token"] != "new secret" || !strings.Contains(r.out, "[SecretKey] = '********'") {
		t.Errorf("%v", r.outputs)
	}
}

func TestErrorOutputCanFail(t *testing.T) {
	w := newTarget(t)
	p := w.upload("Web", "1.0", map[string]string{"Deploy.sh": "echo oh >&2"})
	w.run("deploy-package", w.variables(p)).want(t, 0)
	w.run("deploy-package", w.variables(p, "Octopus.Action.FailScriptOnErrorOutput", "True")).want(t, 255)
}

func TestHostileOrAbsentPackage(t *testing.T) {
	w := newTarget(t)
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	f, _ := z.Create("../../evil.sh")
	f.Write([]byte("x"))
	z.Close()
	p := w.upload("Web", "1.0", map[string]string{"a": ""})
	write(t, filepath.Join(w.home, p.Path()), buf.String())
	r := w.run("deploy-package", w.variables(p))
	if r.code != 1 || !strings.Contains(r.message, "leads out") || exists(w.apps, "Dev", "Web", "1.0") || exists(w.journal()) {
		t.Errorf("%d %s", r.code, r.message)
	}
	os.Remove(filepath.Join(w.home, p.Path()))
	if r := w.run("deploy-package", w.variables(p)); r.code != 1 || !strings.Contains(r.message, "acquired again") {
		t.Errorf("%d %s", r.code, r.message)
	}
}

func TestLanguages(t *testing.T) {
	w := newTarget(t)
	for ext, body := range map[string]string{".ps1": "exit 0", ".csx": ""} {
		r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"Deploy" + ext: body})))
		if r.code != 1 || !strings.Contains(r.message, "Bash or Python") {
			t.Errorf("%s: %d %s", ext, r.code, r.message)
		}
	}
	if _, err := exec.LookPath("python3"); err == nil {
		r := w.run("deploy-package", w.variables(w.upload("Web", "2.0", map[string]string{"Deploy.py": "set_octopusvariable('P', get_octopusvariable('Octopus.Environment.Name'))\n"})))
		r.want(t, 0)
		if r.outputs["P"] != "Dev" {
			t.Error(r.outputs)
		}
	}
	chosen, all, err := packagedScript(folder(t, "deploy.PS1", "Deploy.py", "DEPLOY.sh", "Deploy.txt", "Deploy.sh.bak"), "Deploy", "windows")
	if err != nil || chosen != "deploy.PS1" || len(all) != 3 {
		t.Error(chosen, all, err)
	}
}

func folder(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		write(t, filepath.Join(dir, n), "")
	}
	return dir
}

func TestFeatureScripts(t *testing.T) {
	w := newTarget(t)
	r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{
		"Octopus.Features.Mine_BeforeDeploy.sh": "echo first", "Deploy.sh": "echo second", "Octopus.Features.Mine_AfterPostDeploy.sh": "echo third",
		"Octopus.Features.Other_BeforeDeploy.sh": "echo never",
	}), varFeatures, "Octopus.Features.Mine, Octopus.Features.Unknown"))
	r.want(t, 0)
	if i, j, k := strings.Index(r.out, "first\n"), strings.Index(r.out, "second\n"), strings.Index(r.out, "third\n"); i < 0 || j < i || k < j || strings.Contains(r.out, "never\n") {
		t.Error(r.out)
	}
}

func TestDiskSpaceIsAskedFor(t *testing.T) {
	w := newTarget(t)
	p := w.upload("Web", "1.0", map[string]string{"a": ""})
	r := w.run("deploy-package", w.variables(p, "OctopusFreeDiskSpaceOverrideInMegaBytes", "900000000"))
	if r.code != 1 || !strings.Contains(r.message, "OctopusSkipFreeDiskSpaceCheck") {
		t.Errorf("%d %s", r.code, r.message)
	}
	w.run("deploy-package", w.variables(p, "OctopusFreeDiskSpaceOverrideInMegaBytes", "900000000", "OctopusSkipFreeDiskSpaceCheck", "True")).want(t, 0)
}

func TestRunScript(t *testing.T) {
	w := newTarget(t)
	lib := w.upload("Lib", "2.0", map[string]string{"bin/x.txt": "from lib"})
	step := []string{
		"Octopus.Action.Package[lib].PackageId", "Lib", "Octopus.Action.Package[lib].PackageVersion", "2.0",
		"Octopus.Action.Package[lib].OriginalPath", lib.Path(), "Octopus.Action.Package[lib].Extract", "True",
		"Octopus.Action.Package[raw].OriginalPath", lib.Path(), "Octopus.Action.Package[image].PackageId", "docker/image",
	}
	inline := append([]string{
		varSyntax, "Bash", varScriptBody, "cat lib/bin/x.txt; echo; echo '#{Greeting}' \"$1\"; ls raw.zip\r\n" +
			"echo \"<$(get_octopusvariable 'Octopus.Action.Package[raw].PackageFileName')>\"; [ -d \"$(get_octopusvariable 'Octopus.Action.Package[lib].ExtractedPath')\" ] || exit 4\nexit 7",
		"Greeting", "it''s #{Octopus.Environment.Name}", "Octopus.Action.Script.ScriptParameters", "'#{Octopus.Environment.Name} x'",
	}, step...)
	r := w.run("run-script", w.variables(lib, inline...))
	r.want(t, 7)
	if !strings.Contains(r.out, "from lib\nits Dev Dev x\nraw.zip\n<raw.zip>\n") {
		t.Error(r.out, r.err)
	}
	main := w.upload("Scripts", "1.0", map[string]string{"run/me.sh": "pwd; cat data.json; echo \"$1\"", "data.json": `{"A":1}`})
	packaged := []string{
		"Octopus.Action.Script.ScriptSource", "Package", varScriptFile, `run\me.sh`, "A", "2", "Octopus.Action.Script.ScriptParameters", "one",
		varFeatures, "Octopus.Features.JsonConfigurationVariables", "Octopus.Action.Package.JsonConfigurationVariablesTargets", "data.json",
	}
	r = w.run("run-script", w.variables(main, packaged...))
	r.want(t, 0)
	if !strings.Contains(r.out, filepath.Join(r.workspace, "work")+"\n{\"A\":2}one\n") {
		t.Error(r.out)
	}
	for _, tt := range []struct{ name, value, why string }{
		{varScriptFile, "../x.sh", "inside the package"},
		{varScriptFile, "no.sh", "no file"},
		{varScriptFile, "data.json", "extension"},
		{varScriptFile, "", "which file"},
		{"Octopus.Action.Script.ScriptSource", "Moon", "not known"},
	} {
		r := w.run("run-script", w.variables(main, append(packaged, tt.name, tt.value)...))
		if r.code != 1 || !strings.Contains(r.message, tt.why) {
			t.Errorf("%v: %d %s", tt, r.code, r.message)
		}
	}
	r = w.run("run-script", w.variables(main, varScriptBody+"[Bash]", "echo old form", varSyntax, ""))
	if r.want(t, 0); !strings.Contains(r.out, "old form") {
		t.Error(r.out)
	}
	if r := w.run("run-script", w.variables(main)); r.code != 1 || !strings.Contains(r.message, "no script") {
		t.Error(r.message)
	}
}

func TestTransferPackage(t *testing.T) {
	w := newTarget(t)
	to := filepath.Join(t.TempDir(), "drop")
	r := w.run("transfer-package", w.variables(w.upload("Acme/Web", "1.0", map[string]string{"a": ""}), "Octopus.Action.Package.TransferPath", to))
	r.want(t, 0)
	want := map[string]string{"Package.DirectoryPath": to, "Package.FileName": "Acme%2FWeb.1.0.zip", "Package.FilePath": filepath.Join(to, "Acme%2FWeb.1.0.zip")}
	if diff := cmp.Diff(want, r.outputs); diff != "" || !exists(want["Package.FilePath"]) {
		t.Error(diff)
	}
}

func TestUsage(t *testing.T) {
	var out, errs bytes.Buffer
	if code := runIn(t.Context(), t.TempDir(), nil, []string{"dance"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "deploy-package") {
		t.Errorf("%d %s", code, errs.String())
	}
	errs.Reset()
	if code := runIn(t.Context(), t.TempDir(), nil, []string{"clean"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), variablesName) {
		t.Errorf("%d %s", code, errs.String())
	}
}

// The body must find the tool by itself, on our agent and on an unmodified one, or say what to upload where.
func TestBody(t *testing.T) {
	home := t.TempDir()
	start := func(env ...string) (string, int) {
		cmd := exec.Command("bash", "-c", Body("clean", "1.2.3"))
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TentacleHome=" + home}, env...)
		out, err := cmd.Output()
		if _, failed := err.(*exec.ExitError); err != nil && !failed { //nolint:errorlint // as Output gives it
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := start()
	var p script.Parser
	events := append(p.Write(script.Stdout, []byte(out)), p.Close()...)
	if code != ExitToolMissing || len(events) != 1 {
		t.Fatalf("%d %s", code, out)
	}
	said, _ := events[0].(script.Other)
	path := said.Attributes["path"]
	if said.Name != ToolMissing || path != ToolPath("1.2.3", said.Attributes["platform"]) {
		t.Fatalf("%+v", said)
	}
	write(t, filepath.Join(home, path), "#!/bin/sh\necho \"ran $*\"\nexit 3\n")
	if _, code = start(); code != ExitToolMissing {
		t.Errorf("a tool without its mark was run: %d", code)
	}
	write(t, filepath.Join(home, ToolMark(path)), "")
	if out, code = start(); out != "ran tool clean\n" || code != 3 {
		t.Errorf("%d %q", code, out)
	}
	own := filepath.Join(t.TempDir(), "own agent")
	write(t, own, "#!/bin/sh\necho own \"$@\"\n")
	os.Chmod(own, 0o755)
	if out, _ = start("OCTAVO_TOOL=" + own); out != "own tool clean\n" {
		t.Error(out)
	}
}
