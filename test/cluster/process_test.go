package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/db"
)

// TestRollingWindow deploys to four agents, two at a time (deployments.md P8-P10): never more than two are inside, and
// without a window they all are.
func TestRollingWindow(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 4)
	inside := i.script(`
echo in >> "@W/@NAME"
sleep 0.5
echo out >> "@W/@NAME"
`, "window")
	rolling := scriptStep("Roll", "app", inside)
	rolling["Properties"].(object)["Octopus.Action.MaxParallelism"] = "2"
	p := i.project("Rolling", []object{rolling, scriptStep("All", "app", strings.ReplaceAll(inside, "/window", "/all"))}, nil)
	i.release(p, "1.0.0", "")
	i.success(i.deploy(p, "1.0.0", "Test", nil))
	if most := most(i.witnessed("window")); most != 2 {
		t.Errorf("%d targets were inside a window of 2 at once: %v", most, i.witnessed("window"))
	}
	if most := most(i.witnessed("all")); most < 3 {
		t.Errorf("%d targets at once without a window, want more: %v", most, i.witnessed("all"))
	}
}

// TestCapOfOneRow26Row28Row33 queues six deployments at a node that takes one at a time: they run in the order in which
// they were asked for, never two at once.
func TestCapOfOneRow26Row28Row33(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 0, "--task-cap", "1")
	var ids, want []string
	for n := range 6 {
		name := fmt.Sprintf("p%d", n)
		p := i.project(name, []object{scriptStep("Go", "", i.script(`echo "in" >> "@W/all"; echo @NAME >> "@W/order"; sleep 0.1; echo "out" >> "@W/all"`, name))}, nil)
		i.release(p, "1.0.0", "")
		want = append(want, name)
		ids = append(ids, i.deploy(p, "1.0.0", "Test", nil))
	}
	for _, id := range ids {
		i.success(id)
	}
	if most := most(i.witnessed("all")); most != 1 {
		t.Errorf("%d ran at once", most)
	}
	if got := i.witnessed("order"); !slices.Equal(got, want) {
		t.Errorf("they ran in the order %v", got)
	}
}

// most is how many were inside at once.
func most(witness []string) (most int) {
	now := 0
	for _, word := range witness {
		if word == "in" {
			now++
		} else {
			now--
		}
		most = max(most, now)
	}
	return most
}

// ran is a script that witnesses where it ran.
const ran = `echo "$(get_octopusvariable Octopus.Task.Id) @NAME $(get_octopusvariable Octopus.Machine.Name)" >> "@W/ran"
`

// TestConditions runs a process of every condition on real agents, once well and once with a failure in the middle
// (deployments.md C1-C7), and leaves steps and machines out on demand (X, A).
func TestConditions(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 2)
	step := func(name, role, condition, more string) object {
		s := scriptStep(name, role, i.script(ran, name)+more)
		s["Condition"] = "Success"
		switch {
		case condition == "Failure" || condition == "Always":
			s["Condition"] = condition
		case condition != "":
			s["Condition"] = "Variable"
			s["Properties"].(object)["Octopus.Step.ConditionVariableExpression"] = condition
		}
		return s
	}
	disabled := step("Disabled", "app", "", "")
	disabled["Actions"].([]object)[0]["IsDisabled"] = true
	together := step("Together", "app", "", "")
	together["StartTrigger"] = "StartWithPrevious"
	p := i.project("Conditions", []object{
		step("Set", "app", "", "set_octopusvariable Flag yes\n"),
		together,
		disabled,
		step("Nobody", "no-such-role", "", ""),
		step("If yes", "app", `#{if Octopus.Action[Set].Output.Flag == "yes"}true#{/if}`, ""),
		step("If no", "app", `#{if Octopus.Action[Set].Output.Flag == "no"}true#{/if}`, ""),
		step("Break", "app", "", `[ -e "`+i.path("witness", "break")+`" ] && exit 7`+"\ntrue\n"),
		step("After", "app", "", ""),
		step("On failure", "app", "Failure", ""),
		step("Always", "", "Always", ""),
	}, nil)
	i.release(p, "1.0.0", "")

	for _, c := range []struct {
		name  string
		fails bool
		more  object
		want  string // names, with the targets they ran on
	}{
		{"well", false, nil, "Set ab, Together ab, If yes ab, Break ab, After ab, Always -"},
		{"failing", true, nil, "Set ab, Together ab, If yes ab, Break ab, On failure ab, Always -"},
		{"skipped steps", false, object{"SkipStepNames": []string{"Together", "After"}}, "Set ab, If yes ab, Break ab, Always -"},
		{"excluded machine", false, object{"ExcludedMachineNames": []string{"a"}}, "Set b, Together b, If yes b, Break b, After b, Always -"},
		{"one machine", false, object{"SpecificMachineNames": []string{"a"}}, "Set a, Together a, If yes a, Break a, After a, Always -"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.t = t
			defer func() { i.t = t }()
			state := "Success"
			if c.fails {
				state = "Failed"
				write(t, i.path("witness", "break"), "")
				defer os.Remove(i.path("witness", "break"))
			}
			id := i.deploy(p, "1.0.0", "Test", c.more)
			if end := i.wait(id, 60e9); end.State != state {
				t.Fatalf("%s, want %s: %s\n%s", end.State, state, end.ErrorMessage, i.raw(id))
			}
			if got := i.whatRan(id); got != c.want {
				t.Errorf("what ran:\n got %s\nwant %s\n%s", got, c.want, i.raw(id))
			}
		})
		i.t = t
	}
}

// whatRan lists the steps of one task in the order in which they ran, each with its targets.
func (i *installation) whatRan(id string) string {
	i.t.Helper()
	text, err := os.ReadFile(i.path("witness", "ran"))
	if err != nil {
		i.t.Fatal(err)
	}
	on := map[string][]string{}
	var order []string
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), id+" ")
		if !ok {
			continue
		}
		at := strings.LastIndexByte(rest, ' ')
		name, machine := rest[:at], rest[at+1:]
		if machine == "" {
			machine = "-"
		}
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		on[name] = append(on[name], machine)
	}
	// Steps that start together finish in any order.
	if len(order) > 1 && order[0] == "Together" {
		order[0], order[1] = order[1], order[0]
	}
	var all []string
	for _, name := range order {
		slices.Sort(on[name])
		all = append(all, name+" "+strings.Join(on[name], ""))
	}
	return strings.Join(all, ", ")
}

// TestOutputsAndMasks hands output variables on, also sensitive ones, and tries to get secrets into the log: piece by
// piece, over several lines, in a very long line, encoded as a service message (variables.md 6; behaviour.md 2.17).
func TestOutputsAndMasks(t *testing.T) {
	parallel(t)
	const secret, lines = "S3cret-Gr33n-Elephant", "First-Line-Of-Key\nSecond-Line-Of-Key"
	i := fleet(t, db.Postgres, 2)
	p := i.project("Secrets", []object{
		scriptStep("Say", "app", `
printf 'pieces: S3cret-'; sleep 0.4; printf 'Gr33n-'; sleep 0.4; printf 'Elephant.\n'
echo "several lines: $(get_octopusvariable Key)"
head -c 70000 /dev/zero | tr '\0' x; get_octopusvariable Password; echo .
get_octopusvariable Password >&2; echo >&2
set_octopusvariable Open "open from $(get_octopusvariable Octopus.Machine.Name)"
set_octopusvariable Closed "Closed-From-$(get_octopusvariable Octopus.Machine.Name)" -sensitive
write_warning "a warning with $(get_octopusvariable Password)"
`),
		scriptStep("Read", "", `
echo "a: $(get_octopusvariable "Octopus.Action[Say].Output[a].Open")"
echo "b: $(get_octopusvariable "Octopus.Action[Say].Output[b].Open")"
echo "a hidden: $(get_octopusvariable "Octopus.Action[Say].Output[a].Closed")"
[ "$(get_octopusvariable "Octopus.Action[Say].Output[b].Closed")" = Closed-From-b ] && echo "b is right"
`),
		scriptStep("Fail", "app", `fail_step "it failed because of $(get_octopusvariable Password)"`),
	}, []object{
		{"Name": "Password", "Value": secret, "IsSensitive": true, "Type": "Sensitive"},
		{"Name": "Key", "Value": lines, "IsSensitive": true, "Type": "Sensitive"},
	})
	i.release(p, "1.0.0", "")
	id := i.deploy(p, "1.0.0", "Test", nil)
	end := i.wait(id, 60e9)
	raw, tree := i.raw(id), i.details(id)
	if end.State != "Failed" || !strings.Contains(end.ErrorMessage, "********") {
		t.Errorf("the task is %s: %s", end.State, end.ErrorMessage)
	}
	all := raw + fmt.Sprint(tree) + end.ErrorMessage
	for _, hidden := range []string{secret, "First-Line-Of-Key", "Second-Line-Of-Key", "Closed-From-a", "Closed-From-b"} {
		if strings.Contains(all, hidden) {
			t.Errorf("%s can be read", hidden)
		}
	}
	for _, want := range []string{"pieces: ********.", "several lines: ********", "a: open from a", "b: open from b", "a hidden: ********", "b is right", "xx********."} {
		if !strings.Contains(raw, want) {
			t.Errorf("the raw log lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(raw[:min(len(raw), 10000)])
	}
	for _, file := range []string{"server.log", "agent-a.log", "agent-b.log"} {
		if text := tail(i.path(file), 100000); strings.Contains(text, secret) {
			t.Errorf("%s shows the secret", file)
		}
	}
}
