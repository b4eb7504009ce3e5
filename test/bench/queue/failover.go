package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// process is a node that is a process.
type process struct {
	name string
	cmd  *exec.Cmd
}

type said struct {
	node string
	line string
	at   time.Time
}

func (s *space) process(ctx context.Context, name string, slots int, fast bool, out chan<- said) (*process, error) {
	s.b.made++
	args := []string{"-child", "hold", "-child-name", name, "-child-database", s.url + "&pool=16", "-child-data", fmt.Sprintf("%s/nodes/%d", s.b.dir, s.b.made), "-child-slots", fmt.Sprint(slots)}
	if fast {
		args = append(args, "-child-fast")
	}
	p := &process{name: name, cmd: exec.CommandContext(ctx, s.b.self, args...)}
	p.cmd.Stderr = os.Stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	up := make(chan struct{})
	go func() {
		in := bufio.NewScanner(pipe)
		for in.Scan() {
			if in.Text() == "up" {
				close(up)
				continue
			}
			out <- said{name, in.Text(), time.Now()}
		}
	}()
	select {
	case <-up:
		return p, nil
	case <-time.After(20 * time.Second):
		return nil, fmt.Errorf("the node %s did not come up", name)
	}
}

// failovers kills or stops the process that runs ten tasks, and waits until others run them all.
func failovers(ctx context.Context, b *bench) error {
	const tasks = 10
	var killed, stopped, zombies, writes measure.Sample
	timing, fast := cluster.DefaultTiming, b.quick
	if fast {
		timing = cluster.FastTiming
	}
	for range b.rounds {
		if err := b.shuffled(
			func() error {
				took, z, w, err := b.failover(ctx, tasks, fast, syscall.SIGKILL)
				killed, zombies, writes = append(killed, took), append(zombies, z), append(writes, w)
				return err
			},
			func() error {
				took, z, w, err := b.failover(ctx, tasks, fast, syscall.SIGSTOP)
				stopped, zombies, writes = append(stopped, took), append(zombies, z), append(writes, w)
				return err
			},
		); err != nil {
			return err
		}
	}
	beat := measure.MS(timing.Beat)
	heartbeats := func(s measure.Sample) measure.Sample {
		out := make(measure.Sample, len(s))
		for i := range s {
			out[i] = s[i] / beat
		}
		return out
	}
	b.Note("3 processes, heartbeats of %s; %d tasks on the victim, each writes ten times a second under its fence, also when it has been stopped and goes on", timing.Beat, tasks)
	b.Figure("SIGKILL: all its tasks run elsewhere after", killed, "ms", "")
	b.Figure("SIGSTOP: all its tasks run elsewhere after", stopped, "ms", "")
	b.Figure("writes of an older claim that were accepted after a newer one's", zombies, "", "P18 0")
	b.Figure("writes accepted in all", writes, "", "")
	b.goals.set("failover", "P16", heartbeats(killed), fmt.Sprintf("%s ms", killed))
	b.goals.set("failover", "P17", heartbeats(stopped), fmt.Sprintf("%s ms; a counter has to stand still for %s (ARCHITECTURE.md)", stopped, timing.Dead))
	total := 0.0
	for _, z := range zombies {
		total += z
	}
	b.goals.set("failover", "P18", measure.Sample{total}, fmt.Sprintf("of %d processes struck; every other part checks double runs and stuck turns as well", len(zombies)))
	return nil
}

func (b *bench) failover(ctx context.Context, tasks int, fast bool, signal syscall.Signal) (took, zombies, writes float64, err error) {
	s, err := b.ours(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := b.postgres.Exec(ctx, s.name, "CREATE TABLE bench_write (n bigserial PRIMARY KEY, task text NOT NULL, claim bigint NOT NULL, node text NOT NULL)"); err != nil {
		return 0, 0, 0, err
	}
	out := make(chan said, 1000)
	victim, err := s.process(ctx, "victim", tasks, fast, out)
	if err != nil {
		return 0, 0, 0, err
	}
	all := []*process{victim}
	defer func() {
		for _, p := range all {
			_ = p.cmd.Process.Kill() // it may be gone
			_ = p.cmd.Wait()
		}
	}()
	if err := s.db.InTx(ctx, func(tx *db.Tx) error {
		for i := range tasks {
			if _, err := cluster.Push(ctx, tx, newTask(fmt.Sprint("turn ", i))); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return 0, 0, 0, err
	}
	begun := func(of func(node string) bool, within time.Duration) (time.Time, error) {
		seen, late := map[string]bool{}, time.After(within)
		for {
			select {
			case l := <-out:
				f := strings.Fields(l.line)
				if f[0] == "start" && of(l.node) {
					if seen[f[1]] = true; len(seen) == tasks {
						return l.at, nil
					}
				}
			case <-late:
				return time.Time{}, fmt.Errorf("%d of %d tasks run after %s", len(seen), tasks, within)
			}
		}
	}
	if _, err := begun(func(string) bool { return true }, 20*time.Second); err != nil {
		return 0, 0, 0, err
	}
	for _, name := range []string{"b", "c"} {
		p, err := s.process(ctx, name, 2*tasks, fast, out)
		if err != nil {
			return 0, 0, 0, err
		}
		all = append(all, p)
	}
	// They have to have seen the victim's counter; then a random phase of the heartbeat.
	time.Sleep(2*time.Second + time.Duration(b.rand.Int64N(int64(2*time.Second))))
	struck := time.Now()
	if err := victim.cmd.Process.Signal(signal); err != nil {
		return 0, 0, 0, err
	}
	at, err := begun(func(node string) bool { return node != "victim" }, time.Minute)
	if err != nil {
		return 0, 0, 0, err
	}
	if signal == syscall.SIGSTOP { // the zombie comes back and tries to write
		if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return 0, 0, 0, err
		}
	}
	time.Sleep(time.Second)
	conn, err := b.postgres.Connect(ctx, s.name)
	if err != nil {
		return 0, 0, 0, err
	}
	defer conn.Close(ctx)
	// The fence locks the task's row, so the numbers of its writes are in the order of their transactions.
	err = conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE claim < newest), count(*)
		FROM (SELECT claim, max(claim) OVER (PARTITION BY task ORDER BY n) AS newest FROM bench_write) x`).Scan(&zombies, &writes)
	if err != nil {
		return 0, 0, 0, err
	}
	if writes == 0 {
		return 0, 0, 0, fmt.Errorf("nothing was written at all")
	}
	for _, p := range all {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	all = nil
	_ = conn.Close(ctx)
	return measure.MS(at.Sub(struck)), zombies, writes, s.close(ctx)
}
