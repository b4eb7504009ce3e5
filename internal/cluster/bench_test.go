package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func eachEngine(b *testing.B, bench func(b *testing.B, d *db.DB)) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Run(string(engine), func(b *testing.B) { bench(b, dbtest.New(b, engine)) })
	}
}

func BenchmarkPush(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		n := 0
		for b.Loop() {
			n++
			push(b, d, NewTask{Turn: fmt.Sprint(n % 2000)})
		}
	})
}

// One task's whole life in the database: push, claim, finish with promotion; 70 % with a turn.
func BenchmarkLifecycle(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		epoch := node(b, d, "n1", 1)
		n := 0
		for b.Loop() {
			turn := ""
			if n++; n%10 < 7 {
				turn = fmt.Sprint(n % 2000)
			}
			push(b, d, NewTask{Turn: turn})
			for _, t := range claims(b, d, "n1", epoch, 0) {
				if err := end1(b, d, t, Success); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// A claim of one stays flat however many wait behind the heads (performance.md 3.4).
func BenchmarkClaimBehindBlockedPrefix(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		epoch := node(b, d, "n1", 1)
		fill(b, d, 100_000)
		for b.Loop() {
			t := claims(b, d, "n1", epoch, 0)[0]
			in(b, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, release(ctx, tx, t.fence) })
		}
	})
}

// A whole node with 8 slots: what it gets done when the handlers do nothing.
func BenchmarkNode(b *testing.B) {
	eachEngine(b, func(b *testing.B, d *db.DB) {
		done := make(chan struct{}, 1)
		var left atomic.Int64
		left.Store(int64(b.N))
		for i := range b.N {
			push(b, d, NewTask{Turn: fmt.Sprint(i)})
		}
		b.ResetTimer()
		n, err := Start(b.Context(), d, Config{Name: "n1", DataDir: b.TempDir(), Cap: 8, Handlers: map[string]Handler{"Deploy": func(context.Context, *Run) Outcome {
			if left.Add(-1) == 0 {
				done <- struct{}{}
			}
			return Ended{State: Success}
		}}})
		if err != nil {
			b.Fatal(err)
		}
		<-done
		b.StopTimer()
		if err := n.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	})
}
