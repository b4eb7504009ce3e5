package tasklog

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// Raw writes the whole log as text: a head that says what the task was, then every line in the order in which it
// came, under a heading whenever the activity changes (behaviour.md 2.17).
func (r Reader) Raw(ctx context.Context, task string, to io.Writer) error {
	var t cluster.Task
	err := r.DB.Read(ctx, func(tx *db.Tx) (err error) {
		t, err = cluster.Get(ctx, tx, task)
		return err
	})
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(to, 64<<10)
	head(out, t)
	names, parents := map[string]string{}, map[string]string{}
	at := ""
	_, err = r.Each(ctx, task, 0, func(e Entry) error {
		if c := e.Change; c != nil {
			if c.Name != "" {
				names[e.Activity] = c.Name
			}
			if c.Parent != "" {
				parents[e.Activity] = c.Parent
			}
			if c.Status != "" && c.Status != Pending && c.Status != Running {
				fmt.Fprintf(out, "%s            | %s: %s\n", stamp(e.At), c.Status, path(e.Activity, names, parents))
			}
			return nil
		}
		if e.Activity != at {
			at = e.Activity
			fmt.Fprintf(out, "                        | == %s ==\n", path(at, names, parents))
		}
		_, err := fmt.Fprintf(out, "%s  %-9s |   %s\n", stamp(e.At), e.Category, e.Text)
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05.000") }

// path is an activity's name behind those of its ancestors; the task's own name stands in the head already.
func path(activity string, names, parents map[string]string) string {
	parts := []string{names[activity]}
	for up := parents[activity]; up != "" && parents[up] != "" && len(parts) < 10; up = parents[up] {
		parts = append([]string{names[up]}, parts...)
	}
	return strings.Join(parts, " / ")
}

func head(out io.Writer, t cluster.Task) {
	row := func(name, value string) { fmt.Fprintf(out, "%-15s %s\n", name+":", value) }
	when := func(at *time.Time) string {
		if at == nil {
			return ""
		}
		return at.UTC().Format("Monday, 02 January 2006 15:04:05 -07:00")
	}
	row("Task ID", t.Id)
	row("Task", t.Description)
	row("Task status", t.Wire())
	row("Task queued", when(&t.QueueTime))
	row("Task started", when(t.StartTime))
	row("Task completed", when(t.CompletedTime))
	if t.StartTime != nil && t.CompletedTime != nil {
		row("Task duration", t.CompletedTime.Sub(*t.StartTime).Round(time.Second).String())
	}
	row("Server node", t.Node)
	fmt.Fprintln(out)
}
