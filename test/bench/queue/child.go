package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// childOptions make this program one node, a process of its own.
type childOptions struct {
	mode     string
	name     string
	database string
	data     string
	slots    int
	quickly  bool
	sizes    string
}

func (o *childOptions) flags() {
	flag.StringVar(&o.mode, "child", "", "used by this program itself: be one node (hold) or measure its memory (memory)")
	flag.StringVar(&o.name, "child-name", "", "the node's name")
	flag.StringVar(&o.database, "child-database", "", "its database")
	flag.StringVar(&o.data, "child-data", "", "its folder")
	flag.IntVar(&o.slots, "child-slots", 10, "its task cap")
	flag.BoolVar(&o.quickly, "child-fast", false, "the fast profile of times")
	flag.StringVar(&o.sizes, "child-sizes", "0", "numbers of running tasks")
}

func (o *childOptions) timing() cluster.Timing {
	if o.quickly {
		return cluster.FastTiming
	}
	return cluster.DefaultTiming
}

func (o *childOptions) run(ctx context.Context) error {
	d, err := db.Open(ctx, o.database)
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the second witness of its death
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	var running atomic.Int64
	handler := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		running.Add(1)
		if o.mode == "memory" {
			<-ctx.Done()
			return cluster.Released{}
		}
		fmt.Printf("start %s %d\n", run.Task.Id, run.Fence.Claim)
		return o.hold(ctx, d, run)
	}
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: o.name, DataDir: o.data, Cap: o.slots, Address: l.Addr().String(), Timing: o.timing(), Log: silent, Handlers: map[string]cluster.Handler{kind: handler},
	})
	if err != nil {
		return err
	}
	fmt.Println("up")
	if o.mode == "memory" {
		err = o.memory(ctx, d, &running)
	} else {
		<-ctx.Done()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, node.Stop(stop))
}

// hold writes for its task ten times a second, under its fence, until it may not any more.
func (o *childOptions) hold(ctx context.Context, d *db.DB, run *cluster.Run) cluster.Outcome {
	for {
		// Not under the run's context: a zombie has to try, even when it knows.
		wctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := d.InTx(wctx, func(tx *db.Tx) error {
			if err := run.Fence.Hold(wctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(wctx, "INSERT INTO bench_write (task, claim, node) VALUES ($1, $2, $3)", run.Task.Id, run.Fence.Claim, o.name)
			return err
		})
		cancel()
		if errors.Is(err, cluster.ErrFenced) {
			fmt.Printf("fenced %s %d\n", run.Task.Id, run.Fence.Claim)
			return cluster.Released{}
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), cluster.ErrReleased) {
				return cluster.Released{}
			}
			time.Sleep(100 * time.Millisecond) // stopped, not yet fenced: it goes on trying
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// memory prints what the process holds with some running tasks.
func (o *childOptions) memory(ctx context.Context, d *db.DB, running *atomic.Int64) error {
	have := 0
	for _, s := range strings.Split(o.sizes, ",") {
		want, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		for have < want {
			if err := d.InTx(ctx, func(tx *db.Tx) error {
				for range min(100, want-have) {
					if _, err := cluster.Push(ctx, tx, newTask("")); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			have = min(have+100, want)
		}
		for range 600 {
			if running.Load() == int64(want) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if running.Load() != int64(want) {
			return fmt.Errorf("%d of %d tasks run", running.Load(), want)
		}
		time.Sleep(500 * time.Millisecond)
		debug.FreeOSMemory()
		kib, err := rss()
		if err != nil {
			return err
		}
		fmt.Printf("rss %d %d\n", want, kib)
	}
	return nil
}

func rss() (kib int, err error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for l := range bytes.Lines(text) {
		if _, err := fmt.Sscanf(string(l), "VmRSS: %d kB", &kib); err == nil {
			return kib, nil
		}
	}
	return 0, errors.New("there is no VmRSS")
}
