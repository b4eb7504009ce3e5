package convention

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/script"
)

// pipeWait is how long we wait for a script's output to be closed after the script has ended: something it left running
// may hold it for ever (reliability-and-security.md 4.10).
const pipeWait = 5 * time.Second

const (
	powerShell script.Language = "PowerShell"
	cSharp     script.Language = "CSharp"
)

var extensions = map[script.Language]string{powerShell: "ps1", cSharp: "csx", script.Bash: "sh", script.Python: "py"}

// inlineOrder is that of G2, row 4; preference is that of G5.
var inlineOrder = []script.Language{powerShell, cSharp, script.Bash, script.Python}

func preference(goos string) []script.Language {
	if goos == "windows" {
		return []script.Language{powerShell, script.Python, cSharp, script.Bash}
	}
	return []script.Language{script.Bash, script.Python, cSharp, powerShell}
}

func languageOf(file string) (script.Language, bool) {
	ext := strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
	for l, e := range extensions {
		if e == ext {
			return l, true
		}
	}
	return "", false
}

// scriptFailed says that a script ended badly.
type scriptFailed struct {
	name   string
	code   int
	onText bool // exit code 0, but text on error output (E7)
}

func (f *scriptFailed) Error() string {
	if f.onText {
		return fmt.Sprintf("The script %s wrote to error output, and Octopus.Action.FailScriptOnErrorOutput is True.", f.name)
	}
	return fmt.Sprintf("The script %s returned exit code %d.", f.name, f.code)
}

// exitCode is what the tool ends with: the script's, within what a process can give.
func (f *scriptFailed) exitCode() int {
	if f.onText || f.code < 0 || f.code > 255 {
		return 255
	}
	return f.code
}

// run runs a script file that lies in the current directory (deployments.md G5, G6, G8). name is relative to it, or absolute.
func (a *action) run(language script.Language, name, parameters string) error {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.dir, name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	switch language {
	case script.Bash, script.Python:
	case cSharp:
		return fault.Invalidf("The script %s is written in C#, whose tool dotnet-script this agent cannot drive. Write it in Bash or Python.", name)
	default:
		return fault.Invalidf("The script %s is written in %s, whose tool pwsh this agent cannot drive. Write it in Bash or Python.", name, language)
	}
	if clean := script.Normalize(text); len(clean) != len(text) {
		if err := rewrite(path, clean); err != nil {
			return err
		}
		text = clean
	}
	bundle, err := script.Job{Language: language, Text: string(text), File: name, Parameters: parameters, Variables: a.evaluated()}.Bundle()
	if err != nil {
		return err
	}
	boot, err := os.MkdirTemp("", "octavo-script-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(boot)
	if err := bundle.Write(boot); err != nil {
		return err
	}
	cmd, err := bundle.Command(a.ctx, boot)
	if err != nil {
		return err
	}
	return a.wait(cmd, name)
}

// wait runs a prepared command; what it says goes out at once, and what it sets is learnt.
func (a *action) wait(cmd *exec.Cmd, name string) error {
	out := &listener{to: a.stdout, a: a}
	errs := &counted{to: a.stderr}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = a.dir, out, errs, pipeWait
	err := cmd.Run()
	out.end()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		a.log.verbose("The script %s has ended, but something it started still holds its output.", name)
	case errors.As(err, &exit):
		return &scriptFailed{name: name, code: exit.ExitCode()}
	case err != nil:
		return err
	}
	if errs.total() > 0 && a.vars.Flag("Octopus.Action.FailScriptOnErrorOutput", false) {
		return &scriptFailed{name: name, onText: true}
	}
	return nil
}

// listener passes a script's output on, and hears what variables it sets.
type listener struct {
	to     io.Writer
	a      *action
	parser script.Parser
	last   byte
}

func (l *listener) Write(p []byte) (int, error) {
	n, err := l.to.Write(p)
	l.hear(l.parser.Write(script.Stdout, p[:n]))
	if n > 0 {
		l.last = p[n-1]
	}
	return n, err
}

// end completes a last line without newline, so that what we say next stands on a line of its own.
func (l *listener) end() {
	if l.last != 0 && l.last != '\n' {
		fmt.Fprintln(l.to)
	}
	l.hear(l.parser.Close())
}

func (l *listener) hear(events []script.Event) {
	for _, e := range events {
		if v, ok := e.(script.SetVariable); ok {
			l.a.learn(v.Name, v.Value, v.Sensitive)
		}
	}
}

type counted struct {
	to io.Writer
	mu sync.Mutex
	n  int
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.mu.Lock()
	c.n += n
	c.mu.Unlock()
	return n, err
}

func (c *counted) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// rewrite replaces a file's content and keeps its mode.
func rewrite(path string, data []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return replaceFile(path, data, info.Mode().Perm())
}

// packagedScript finds the one file of a stage at the root of dir that runs, and all of that stage (deployments.md G5).
func packagedScript(dir, stage, goos string) (chosen string, all []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	rank := len(inlineOrder)
	for _, e := range entries {
		language, ok := languageOf(e.Name())
		if !ok || !e.Type().IsRegular() || !strings.EqualFold(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), stage) {
			continue
		}
		all = append(all, e.Name())
		if r := slices.Index(preference(goos), language); r < rank {
			chosen, rank = e.Name(), r
		}
	}
	return chosen, all, nil
}

// runPackaged is G5 for one stage.
func (a *action) runPackaged(stage string) error {
	if !a.vars.Flag("Octopus.Action.Package.RunScripts", true) {
		return nil
	}
	chosen, all, err := packagedScript(a.dir, stage, runtime.GOOS)
	if err != nil || chosen == "" {
		return err
	}
	for _, name := range all {
		if name != chosen {
			a.log.warning("The package has several %s scripts; %s runs and %s does not.", stage, chosen, name)
		}
	}
	a.log.verbose("Running the packaged script %s", chosen)
	language, _ := languageOf(chosen)
	if err := a.run(language, chosen, ""); err != nil {
		return err
	}
	return a.deleteScripts(all)
}

func (a *action) deleteScripts(names []string) error {
	if !a.vars.Flag(varDeleteScripts, true) {
		return nil
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(a.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// runInline is G6 for one stage: every language that has a body.
func (a *action) runInline(stage string) error {
	if !a.feature("Octopus.Features.CustomScripts") {
		return nil
	}
	for _, language := range inlineOrder {
		name := "Octopus.Action.CustomScripts." + stage + "." + extensions[language]
		body, err := a.text(name)
		if err != nil {
			return err
		}
		if strings.TrimSpace(body) == "" {
			continue
		}
		a.log.verbose("Running the %s script of the step", stage)
		if err := replaceFile(filepath.Join(a.dir, name), []byte(body), 0o600); err != nil {
			return err
		}
		if err := a.run(language, name, ""); err != nil {
			return err
		}
		if err := a.deleteScripts([]string{name}); err != nil {
			return err
		}
	}
	return nil
}

// text evaluates a setting; tokens that lead nowhere stay in it, as everywhere, but a text that has no value is an error.
func (a *action) text(name string) (string, error) {
	value, _, err := a.vars.Get(name)
	if err != nil && value == "" {
		return "", fault.Because(fault.InvalidField(name, "%s: %v", name, err), err)
	}
	return value, nil
}

// runFeatures runs, for each enabled feature in order, the script <Feature>_<Stage> that lies at the root (G2, G7). We bring
// none of our own, so what is there is the user's.
func (a *action) runFeatures(stage string) error {
	for _, feature := range a.vars.List(varFeatures) {
		chosen, all, err := packagedScript(a.dir, feature+"_"+stage, runtime.GOOS)
		if err != nil || chosen == "" {
			if err != nil {
				return err
			}
			continue
		}
		a.log.verbose("Running the feature script %s", chosen)
		language, _ := languageOf(chosen)
		if err := a.run(language, chosen, ""); err != nil {
			return err
		}
		if err := a.deleteScripts(all); err != nil {
			return err
		}
	}
	return nil
}
