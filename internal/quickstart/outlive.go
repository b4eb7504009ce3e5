package quickstart

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	countTo = 30
	killAt  = 10 // the number that both targets have reached when the node is killed
)

// countScript counts in the log and in a file that nobody but the script itself writes.
const countScript = `file="$(get_octopusvariable WitnessFolder)/$(get_octopusvariable Octopus.Task.Id).$(get_octopusvariable Octopus.Machine.Name)"
echo start >> "$file"
for n in $(seq 1 30); do
	echo "$n" >> "$file"
	echo "n $n"
	sleep "$(get_octopusvariable Pause)"
done
echo end >> "$file"
`

// ErrDouble is a number that is missing, or there twice. It is what must not happen.
var ErrDouble = errors.New("a script did not run exactly once, or its log is not whole")

// outlive deploys a script that counts to 30 on both agents, has the node that runs the deployment killed in the
// middle, and shows another one go on.
func (s *show) outlive(ctx context.Context, like object) error {
	witness := filepath.Join(s.Data, "witness")
	if err := os.MkdirAll(witness, 0o700); err != nil {
		return err
	}
	project, err := s.ensure(ctx, "/api/Spaces-1/projects", object{"Name": "Count to 30", "ProjectGroupId": like["ProjectGroupId"], "LifecycleId": like["LifecycleId"]})
	if err != nil {
		return err
	}
	// On SQLite a dead node is noticed by its silence only, after 15 s; the script must still be counting then.
	pause := "0.5"
	if filepath.Base(s.Data) == "nodes-on-sqlite" {
		pause = "1"
	}
	if err := s.setVariables(ctx, project, []object{{"Name": "WitnessFolder", "Value": witness}, {"Name": "Pause", "Value": pause}}); err != nil {
		return err
	}
	if err := s.setProcess(ctx, project, []object{scriptStep("Count", countScript)}); err != nil {
		return err
	}
	version, err := s.nextVersion(ctx, project)
	if err != nil {
		return err
	}
	if err := s.release(ctx, object{"ProjectName": "Count to 30", "ReleaseVersion": version}); err != nil {
		return err
	}
	id, err := s.ask(ctx, project, version, "Development")
	if err != nil {
		return err
	}
	fmt.Fprintf(s, "\n%s %s\n", s.paint(bold, "Deploying a script that counts to 30 on both agents"), s.paint(dim, id))
	c := &count{show: s, id: id, since: time.Now(), shown: map[string]int{}}
	if err := c.watch(ctx); err != nil {
		return err
	}
	return c.prove(witness)
}

// count is one deployment of the counting script as the terminal shows it.
type count struct {
	*show
	id      string
	since   time.Time
	shown   map[string]int // numbers shown, by target
	runs    []run          // which nodes ran it
	numbers map[string][]int
	victim  *node
	killed  time.Time
	asking  <-chan string // what the person types; nil when nobody is asked
	offered bool
}

// run is one node's part in a task.
type run struct{ ServerNode, Ending string }

func (r run) node() string { return strings.TrimPrefix(r.ServerNode, "OctopusServerNodes-") }

// watch shows each number once, as it comes, until the task ends.
func (c *count) watch(ctx context.Context) error {
	heard := time.Now()
	for {
		state, err := c.look(ctx)
		switch {
		case err == nil:
			heard = time.Now()
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(heard) > 30*time.Second: // a call or two may be lost with the node
			return err
		}
		if state != "" {
			return c.end(ctx, state)
		}
		if err == nil {
			if err := c.offer(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case answer := <-c.asking:
			c.asking = nil
			if strings.EqualFold(strings.TrimSpace(answer), "k") {
				if err := c.strike(); err != nil {
					return err
				}
			}
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// look reads the task through the balancer and prints what is new; state is "" until the task has ended.
func (c *count) look(ctx context.Context) (state string, err error) {
	var details struct {
		Task struct {
			State, ErrorMessage string
			IsCompleted         bool
		}
		ActivityLogs []activity
		Runs         []run
	}
	if err := c.call(ctx, "GET", "/api/tasks/"+c.id+"/details?verbose=true&tail=1000", nil, &details); err != nil {
		return "", err
	}
	for _, r := range details.Runs[min(len(c.runs), len(details.Runs)):] {
		if len(c.runs) > 0 {
			after := ""
			if !c.killed.IsZero() {
				after = fmt.Sprintf("+%.1f s  ", time.Since(c.killed).Seconds())
			}
			fmt.Fprintf(c, "    %s%s goes on with %s\n", after, c.paint(bold, r.node()), c.id)
		}
		c.runs = append(c.runs, r)
	}
	c.runs = details.Runs // with their endings
	c.numbers = map[string][]int{}
	var names []string
	for _, root := range details.ActivityLogs {
		for _, step := range root.Children {
			for _, lane := range step.Children {
				names = append(names, lane.Name)
				for _, line := range lane.LogElements {
					if n, err := strconv.Atoi(strings.TrimPrefix(line.MessageText, "n ")); err == nil {
						c.numbers[lane.Name] = append(c.numbers[lane.Name], n)
					}
				}
			}
		}
	}
	slices.Sort(names)
	line, fresh := "", false
	for _, name := range names {
		all := c.numbers[name]
		said := ""
		for _, n := range all[min(c.shown[name], len(all)):] {
			said += " " + strconv.Itoa(n)
			fresh = true
		}
		c.shown[name] = max(c.shown[name], len(all))
		line += fmt.Sprintf("  %s %-16s", c.paint(dim, name), said)
	}
	if fresh {
		fmt.Fprintf(c, "  %-7s%s\n", c.runs[len(c.runs)-1].node(), strings.TrimRight(line, " "))
	}
	if details.Task.IsCompleted {
		return details.Task.State, nil
	}
	return "", nil
}

// offer kills the node, or asks whether to, once both targets have counted far enough. Without a terminal nobody is asked.
func (c *count) offer(ctx context.Context) error {
	far := len(c.numbers) == 2
	for _, all := range c.numbers {
		far = far && len(all) >= killAt
	}
	if !far || c.offered {
		return nil
	}
	c.offered = true
	owner := c.runs[len(c.runs)-1].node()
	at := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == owner })
	if at < 0 {
		return fmt.Errorf("%s runs on %q, which is none of our nodes", c.id, owner)
	}
	c.victim = c.nodes[at]
	if c.Kill {
		return c.strike()
	}
	if !c.live || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	fmt.Fprintf(c, "  %s\n", c.paint(yellow, fmt.Sprintf("kill -9 %s, which runs this? Type k and Enter; Enter alone lets it live.", owner)))
	answer := make(chan string, 1)
	c.asking = answer
	go func() { // nothing ends a read from a terminal; it ends with the process
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err == nil {
			answer <- line
		}
	}()
	return nil
}

// strike kills the node that runs the task.
func (c *count) strike() error {
	if err := c.victim.kill(); err != nil {
		return err
	}
	c.killed = time.Now()
	fmt.Fprintf(c, "\n  %s %s killed (kill -9, process %d)\n", c.paint(red, "✗"), c.paint(bold, c.victim.name), c.victim.Process.Pid)
	return nil
}

// end is after the task's end: the killed node comes back.
func (c *count) end(ctx context.Context, state string) error {
	took := time.Since(c.since).Seconds()
	if state != "Success" {
		fmt.Fprintf(c, "\n%s after %.1f s\n", c.paint(red, state), took)
		return ErrFailed
	}
	fmt.Fprintf(c, "\n%s in %.1f s\n", c.paint(green, state), took)
	if c.killed.IsZero() {
		if c.Kill {
			return errors.New("the deployment ended before its node could be killed")
		}
		return nil
	}
	since := time.Now()
	if err := c.launch(ctx, c.victim); err != nil {
		return err
	}
	c.done(c.victim.name, "is back", since)
	return nil
}

// prove holds what the log shows and what the scripts wrote against what must be.
func (c *count) prove(witness string) error {
	var want []int
	file := []string{"start"}
	for n := range countTo {
		want, file = append(want, n+1), append(file, strconv.Itoa(n+1))
	}
	if len(c.numbers) != 2 {
		return fmt.Errorf("%w: %d targets counted, not 2", ErrDouble, len(c.numbers))
	}
	for name, numbers := range c.numbers {
		if !slices.Equal(numbers, want) {
			return fmt.Errorf("%w: the log of %s has %v", ErrDouble, name, numbers)
		}
		text, err := os.ReadFile(filepath.Join(witness, c.id+"."+name))
		if err != nil {
			return err
		}
		if wrote := strings.Fields(string(text)); !slices.Equal(wrote, append(slices.Clone(file), "end")) {
			return fmt.Errorf("%w: the script on %s wrote %v", ErrDouble, name, wrote)
		}
	}
	var ran []string
	for _, r := range c.runs {
		ran = append(ran, strings.TrimSpace(r.node()+" "+strings.ToLower(r.Ending)))
	}
	if !c.killed.IsZero() && len(ran) < 2 {
		return errors.New("the node that ran the deployment was killed, but no other went on with it")
	}
	fmt.Fprintf(c, "Each script was started once; each of its %d numbers is once in the log and once in the file it wrote.  Run by: %s\n", countTo, strings.Join(ran, ", "))
	return nil
}
