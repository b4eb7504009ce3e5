package script

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// run carries a bundle out as an agent does and parses what it prints.
func run(t *testing.T, b Bundle) (events []Event, code int) {
	t.Helper()
	dir := t.TempDir()
	if err := b.Write(dir); err != nil {
		t.Fatal(err)
	}
	cmd, err := b.Command(t.Context(), dir)
	if err != nil {
		t.Skip(err)
	}
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	var p Parser
	events = p.Write(Stdout, out.Bytes())
	events = append(events, p.Write(Stderr, errs.Bytes())...)
	return append(events, p.Close()...), cmd.ProcessState.ExitCode()
}

func bundles(t *testing.T, j Job) map[string]Bundle {
	t.Helper()
	stdin, err := j.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := j.Sealed()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Bundle{"stdin": stdin, "sealed": sealed}
}

func texts(events []Event) (lines []string) {
	for _, e := range events {
		if o, ok := e.(Output); ok {
			lines = append(lines, o.Text)
		}
	}
	return lines
}

var quiet = NewVariable(quietVariable, "True", false)

var awkward = []string{
	"plain", "it's", `"; echo pwned; "`, "$(id)", "`id`", "*", "a b  c", "emoji 🐙", "x]y", "[a]", "\\", "line\nbreak", "!history", "-n", "$'q'", "@", "#{x}", "'",
}

func TestBashVariables(t *testing.T) {
	variables := []Variable{quiet}
	text := "for i in \"$@\"; do printf '<%s>\\n' \"$(get_octopusvariable \"$i\")\"; done\n"
	want := []string{}
	for i, a := range awkward {
		variables = append(variables, NewVariable(a, "old", false), NewVariable(a, awkward[len(awkward)-1-i]+"/v", i%2 == 0))
		want = append(want, strings.Split("<"+awkward[len(awkward)-1-i]+"/v>", "\n")...)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	variables = append(variables, NewVariable("big", big, true), Variable{Name: "null"})
	want = append(want, "<"+big+">", "<>", "<>")
	parameters := ""
	for _, a := range awkward {
		parameters += " " + quote(a)
	}
	job := Job{Text: "\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"), Parameters: parameters + " big null unknown", Variables: variables}
	for name, b := range bundles(t, job) {
		t.Run(name, func(t *testing.T) {
			events, code := run(t, b)
			if code != 0 {
				t.Errorf("exit %d", code)
			}
			if d := cmp.Diff(want, texts(events)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBashArray(t *testing.T) {
	text := "for i in \"${!octopus_parameters[@]}\"; do [ \"${octopus_parameters[$i]}\" = \"$(get_octopusvariable \"$i\")\" ] || echo \"differs: $i\"; done; echo ${#octopus_parameters[@]}"
	variables := []Variable{quiet}
	for _, a := range awkward {
		variables = append(variables, NewVariable(a, a+a, false))
	}
	b, err := Job{Text: text, Variables: variables}.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	events, _ := run(t, b)
	if d := cmp.Diff([]Event{Output{Stdout, Info, "19"}}, events); d != "" {
		t.Error(d)
	}
}

func TestBashFunctions(t *testing.T) {
	job := Job{
		Text: `
set_octopusvariable "a'b" "v
w"
set_octopusvariable s x -sensitive
update_progress 40 "so far"
write_verbose one two
write_highlight h
write_wait w
write_warning "*"
echo content > "my file.txt"
new_octopusartifact "my file.txt" "$(get_octopusvariable name)"
new_octopusartifact nowhere
new_octopustarget --name n --target-id t --inputs '{}' --roles a,b --worker-pool p --update-if-existing
remove-octopustarget m
set_environmentstate k v t
report_kubernetes_manifest 'kind: x' ns
decode_servicemessagevalue "$(encode_servicemessagevalue 'round trip')"; echo
read line; echo "stdin ended: $?"
source ./My_Module.sh; hello
(exit 3); echo "after $?"
fail_step "no more"
echo unreachable`,
		Variables: []Variable{
			quiet, NewVariable("name", "nice name", false),
			NewVariable("Octopus.Script.Module[My_Mo dule]", "hello() { echo from module; }", false),
			NewVariable("Octopus.Script.Module.Language[My_Mo dule]", "Bash", false),
			NewVariable("Octopus.Script.Module[Pow]", "x", false),
		},
	}
	for name, b := range bundles(t, job) {
		t.Run(name, func(t *testing.T) {
			events, code := run(t, b)
			if code != 1 {
				t.Errorf("exit %d", code)
			}
			var got []Event
			for _, e := range events {
				switch e := e.(type) {
				case SetLevel:
				case CreateArtifact:
					if !filepath.IsAbs(e.Path) || filepath.Base(e.Path) != "my file.txt" {
						t.Errorf("artifact path %q", e.Path)
					}
					e.Path = ""
					got = append(got, e)
				case Output:
					if !strings.HasPrefix(e.Text, "Artifact nice name") {
						got = append(got, e)
					}
				default:
					got = append(got, e)
				}
			}
			want := []Event{
				SetVariable{"a'b", "v\nw", false},
				SetVariable{"s", "x", true},
				Progress{40, "so far"},
				Output{Stdout, Verbose, "one two"},
				Output{Stdout, Highlight, "h"},
				Output{Stdout, Wait, "w"},
				Output{Stdout, Warning, "*"},
				CreateArtifact{"", "nice name", 8},
				Other{"createStepPackageTarget", map[string]string{
					"name": "n", "targetid": "t", "inputs": "{}", "octopusroles": "a,b",
					"octopusdefaultworkerpoolidorname": "p", "updateifexisting": "True",
				}},
				Other{"delete-target", map[string]string{"machine": "m"}},
				Other{"set-environmentstate", map[string]string{"key": "k", "value": "v", "type": "t"}},
				Other{"k8s-manifest-applied", map[string]string{"manifest": "kind: x", "ns": "ns"}},
				Output{Stdout, Info, "round trip"},
				Output{Stdout, Info, "stdin ended: 1"},
				Output{Stdout, Info, "from module"},
				Output{Stdout, Info, "after 3"},
				ResultMessage{"no more"},
				Output{Stderr, Error, `new_octopusartifact: there is no file "nowhere", so it cannot be collected.`},
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// E6: no set -e, and the exit code is the script's own.
func TestBashExit(t *testing.T) {
	for text, want := range map[string]int{"false; true": 0, "exit 255": 255, "false": 1, "no-such-command-here": 127, "": 0} {
		for name, b := range bundles(t, Job{Text: text, Variables: []Variable{quiet}}) {
			if _, code := run(t, b); code != want {
				t.Errorf("%s: %q exits %d, want %d", name, text, code, want)
			}
		}
	}
}

// E3: values are not in arguments, in the environment, nor left in files once the script runs.
func TestSecretsStayHidden(t *testing.T) {
	job := Job{
		Text:      "cat /proc/$$/cmdline /proc/$$/environ | tr '\\0' '\\n' | grep -c s3cr3t-value; grep -rlc s3cr3t-value . ; ls",
		Variables: []Variable{quiet, NewVariable("password", "s3cr3t-value", true)},
	}
	job.Text = strings.ReplaceAll(job.Text, "s3cr3t-value", "s3cr3t[-]value")
	for name, b := range bundles(t, job) {
		t.Run(name, func(t *testing.T) {
			events, _ := run(t, b)
			if d := cmp.Diff([]string{"0", "Bootstrap.sh", "Script.sh"}, texts(events)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEnvironmentIsLoggedVerbosely(t *testing.T) {
	b, err := Job{Text: "echo hi"}.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	events, _ := run(t, b)
	last := events[len(events)-1]
	if d := cmp.Diff(Event(Output{Stdout, Info, "hi"}), last); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Event(Output{Stdout, Verbose, "Bash environment"}), events[1]); d != "" {
		t.Error(d)
	}
}

func TestFileGiven(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Deploy it.sh"), []byte("echo $1-$(get_octopusvariable x)"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Job{File: "Deploy it.sh", Parameters: "p", Variables: []Variable{quiet, NewVariable("x", "y", false)}}.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	side := t.TempDir()
	if err := b.Write(side); err != nil {
		t.Fatal(err)
	}
	cmd, err := b.Command(t.Context(), side)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if string(out) != "p-y\n" || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

func TestPython(t *testing.T) {
	job := Job{
		Language: Python,
		Text: `import sys, my_lib
print(sys.argv[1:], get_octopusvariable("it's"), get_octopusvariable("none") == "")
set_octopusvariable("n", "ü", True)
updateprogress(5, "m")
printwarning("careful")
print(repr(sys.stdin.read()), my_lib.x)
failstep("stop")
`,
		Parameters: `a 'b c'`,
		Variables: []Variable{
			NewVariable("it's", "🐙\n", true),
			NewVariable("Octopus.Script.Module[my_lib]", "x = 7", false), NewVariable("Octopus.Script.Module.Language[my_lib]", "Python", false),
		},
	}
	b, err := job.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	events, code := run(t, b)
	want := []Event{
		Output{Stdout, Info, "['a', 'b c'] 🐙"},
		Output{Stdout, Info, " True"},
		SetVariable{"n", "ü", true},
		Progress{5, "m"},
		SetLevel{Stdout, Warning},
		Output{Stdout, Warning, "careful"},
		SetLevel{Stdout, Info},
		Output{Stdout, Info, "'' 7"},
		ResultMessage{"stop"},
	}
	if d := cmp.Diff(want, events); d != "" || code != 255 {
		t.Error(code, d)
	}
}

func TestUnfitModules(t *testing.T) {
	for _, name := range []string{"Script", "boot.strap", "???"} {
		_, err := Job{Variables: []Variable{
			NewVariable("Octopus.Script.Module["+name+"]", "x", false), NewVariable("Octopus.Script.Module.Language["+name+"]", "Bash", false),
		}}.Bundle()
		if err == nil || !strings.Contains(err.Error(), "another name") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVariablesFile(t *testing.T) {
	variables := []Variable{NewVariable("a", "ü", false), {Name: "null"}, NewVariable("s", strings.Repeat("x", 1<<20), true)}
	password := NewPassword()
	sealed, err := SealVariables(variables, password)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenVariables(sealed, password)
	if d := cmp.Diff(variables, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if _, err := OpenVariables(sealed, "wrong"); err == nil {
		t.Error("a wrong password opened it")
	}
	if _, err := OpenVariables(sealed, ""); err == nil || !strings.Contains(err.Error(), "password") {
		t.Error(err)
	}
	plain, err := OpenVariables([]byte("\xef\xbb\xbf"+`[{"k":"a","v":null,"s":true}]`), "")
	if d := cmp.Diff([]Variable{{Name: "a", Sensitive: true}}, plain); d != "" || err != nil {
		t.Error(err, d)
	}
}

// The format is another tool's; openssl confirms key derivation aside from our own code.
func TestSealIsWhatOthersRead(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	sealed, err := Seal([]byte("hello"), "password", 16)
	if err != nil {
		t.Fatal(err)
	}
	// PBKDF2-HMAC-SHA1("password", "Octopuss", 1000), first 16 bytes; the value is Python's hashlib.pbkdf2_hmac.
	const key = "8574be1b3014aa6bc9b82bc0a8f11e0e"
	cmd := exec.CommandContext(t.Context(), openssl, "enc", "-d", "-aes-128-cbc", "-K", key, "-iv", hex.EncodeToString(sealed[4:20]))
	cmd.Stdin = bytes.NewReader(sealed[20:])
	if out, err := cmd.CombinedOutput(); string(out) != "hello" {
		t.Errorf("%q %v", out, err)
	}
}

func FuzzOpenVariables(f *testing.F) {
	sealed, _ := SealVariables([]Variable{NewVariable("a", "b", true)}, "p")
	f.Add(sealed, "p")
	f.Add([]byte(`[{"k":"a"}]`), "")
	f.Add([]byte("IV__"), "p")
	f.Fuzz(func(t *testing.T, file []byte, password string) {
		variables, err := OpenVariables(file, password)
		if err != nil {
			return
		}
		again, err := SealVariables(variables, "q")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := OpenVariables(again, "q"); err != nil || (len(variables) > 0 && cmp.Diff(variables, got) != "") {
			t.Error(err, cmp.Diff(variables, got))
		}
	})
}
