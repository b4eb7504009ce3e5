package quickstart

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// terminal writes to a person, or plainly into a pipe (NO_COLOR is obeyed).
type terminal struct {
	io.Writer
	colour bool
	live   bool
}

func newTerminal(to *os.File) terminal {
	live := term.IsTerminal(int(to.Fd())) && os.Getenv("TERM") != "dumb"
	return terminal{to, live && os.Getenv("NO_COLOR") == "", live}
}

func (t terminal) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

const (
	bold, dim, red, green, yellow, cyan = "1", "2", "31", "32", "33", "36"
)

func (t terminal) done(what, detail string, since time.Time) {
	fmt.Fprintf(t, "  %s %-10s %s %s\n", t.paint(green, "✓"), what, detail, t.paint(dim, fmt.Sprintf("%.1f s", time.Since(since).Seconds())))
}

// activity is a node of GET tasks/{id}/details.
type activity struct {
	Id, Name, Status string //nolint:revive // the wire's names
	Children         []activity
	LogElements      []struct {
		Category, MessageText string
		Number                int64
	}
}

// follow prints a task's log while it grows, under a heading for each step and target, until the task ends.
// What the steps highlighted comes back with the state.
func (t terminal) follow(ctx context.Context, c *client, task string) (state string, highlights []string, err error) {
	seen := int64(0)
	heading := ""
	statuses := map[string]string{}
	for {
		var details struct {
			Task struct {
				State, ErrorMessage string
				IsCompleted         bool
			}
			ActivityLogs []activity
		}
		if err := c.call(ctx, "GET", "/api/tasks/"+task+"/details?verbose=false", nil, &details); err != nil {
			return "", nil, err
		}
		last := seen
		var walk func(node activity, path []string)
		walk = func(node activity, path []string) {
			if len(path) > 0 || node.Name != "" {
				path = append(path[:len(path):len(path)], node.Name)
			}
			for _, line := range node.LogElements {
				if line.Number <= seen {
					continue
				}
				if at := strings.Join(path[min(1, len(path)):], " › "); at != heading {
					heading = at
					if at != "" {
						fmt.Fprintf(t, "\n  %s\n", t.paint(bold, "▸ "+at))
					}
				}
				t.line(line.Category, line.MessageText)
				if line.Category == "Highlight" {
					highlights = append(highlights, line.MessageText)
				}
				last = max(last, line.Number)
			}
			for _, child := range node.Children {
				walk(child, path)
			}
			if statuses[node.Id] != node.Status && len(path) == 2 {
				t.status(node)
			}
			statuses[node.Id] = node.Status
		}
		for _, root := range details.ActivityLogs {
			walk(root, nil)
		}
		seen = last
		if details.Task.IsCompleted {
			return details.Task.State, highlights, nil
		}
		select {
		case <-ctx.Done():
			return "", nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (t terminal) line(category, text string) {
	code, mark := "", " "
	switch category {
	case "Highlight":
		code, mark = cyan, "●"
	case "Warning":
		code, mark = yellow, "!"
	case "Error", "Fatal":
		code, mark = red, "✗"
	case "Wait":
		code, mark = dim, "…"
	}
	if code != "" {
		text = t.paint(code, text)
	}
	fmt.Fprintf(t, "    %s %s\n", mark, text)
}

// status closes the fold of a step.
func (t terminal) status(step activity) {
	switch step.Status {
	case "Success":
		fmt.Fprintf(t, "  %s %s\n", t.paint(green, "✓"), step.Name)
	case "SuccessWithWarning":
		fmt.Fprintf(t, "  %s %s\n", t.paint(yellow, "!"), step.Name)
	case "Failed":
		fmt.Fprintf(t, "  %s %s\n", t.paint(red, "✗"), step.Name)
	case "Skipped":
		fmt.Fprintf(t, "  %s %s\n", t.paint(dim, "-"), step.Name+" (skipped)")
	case "Canceled":
		fmt.Fprintf(t, "  %s %s\n", t.paint(red, "✗"), step.Name+" (cancelled)")
	}
}
