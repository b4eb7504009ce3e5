package api_test

import (
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// What a monitoring system reads: the queue by what tasks wait for, the nodes, and this process.
func TestMetricsRow112(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		open := make(chan struct{})
		c.join("n1", 1, open)
		must(t, c.db.InTx(t.Context(), func(tx *db.Tx) error {
			for _, n := range []cluster.NewTask{
				{Kind: "Health", Turn: "a"}, {Kind: "Health", Turn: "a"}, {Kind: "Health"}, {Kind: "Health", Labels: []string{"gpu"}}, {Kind: "Health", QueueTime: tx.Now.Add(1e12)},
			} {
				if _, err := cluster.Push(t.Context(), tx, n); err != nil {
					return err
				}
			}
			return nil
		}))
		want := []string{
			"octavo_database_up 1", `octavo_node_up{node="n1",version="`, `octavo_node_slots{node="n1"} 1`, `octavo_node_running_tasks{node="n1"} 1`, `octavo_node_leader{node="n1"} `,
			`octavo_queue_tasks{reason="",state="running"} 1`, `octavo_queue_tasks{reason="turn",state="queued"} 1`, `octavo_queue_tasks{reason="slot",state="queued"} 1`,
			`octavo_queue_tasks{reason="label",state="queued"} 1`, `octavo_queue_tasks{reason="scheduled",state="queued"} 1`, `octavo_queue_tasks{reason="stopped",state="queued"} 0`,
			`octavo_queue_oldest_seconds{reason="slot",state="queued"} `, "go_goroutines ", "process_resident_memory_bytes ",
		}
		missing := ""
		c.eventually("the figures are as expected", func() bool {
			text := string(c.try("GET", "/metrics", nil).body)
			for _, line := range want {
				if !strings.Contains(text, "\n"+line) {
					if line != missing {
						missing = line
						t.Logf("not yet: %s", line)
					}
					return false
				}
			}
			return true
		})
		close(open)
	})
}
