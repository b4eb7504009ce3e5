package tasklog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// Category is a line's level, in the wire's words (behaviour.md 2.17).
type Category string

// The categories we write.
const (
	Verbose   Category = "Verbose"
	Info      Category = "Info"
	Highlight Category = "Highlight"
	Wait      Category = "Wait"
	Gap       Category = "Gap"
	Warning   Category = "Warning"
	Error     Category = "Error"
	Fatal     Category = "Fatal"
)

// Status of an activity, in the wire's words.
type Status string

// The states of an activity.
const (
	Pending            Status = "Pending"
	Running            Status = "Running"
	Success            Status = "Success"
	SuccessWithWarning Status = "SuccessWithWarning"
	Failed             Status = "Failed"
	Skipped            Status = "Skipped"
	Canceled           Status = "Canceled"
)

// ended tells whether an activity in this state does nothing more.
func (s Status) ended() bool { return s != Pending && s != Running }

// Entry is one numbered fact. Either Text with its Category, or Change.
type Entry struct {
	Number   int64    `json:"n"`           // 1 for the task's first entry; no gaps
	At       int64    `json:"t"`           // Unix ms, when the server learned of it
	Activity string   `json:"a"`           // id of the activity it belongs to
	Category Category `json:"c,omitempty"` // of a line
	Text     string   `json:"m,omitempty"` // of a line: one line, masked
	Detail   string   `json:"d,omitempty"` // of a line: what belongs behind a fold
	Remote   int64    `json:"r,omitempty"` // Unix ms, when the target says it happened
	Change   *Change  `json:"x,omitempty"`
}

// Change opens an activity or alters it. Empty members leave what is there.
type Change struct {
	Parent  string `json:"p,omitempty"` // on opening; empty for the root
	Name    string `json:"n,omitempty"`
	Status  Status `json:"s,omitempty"`
	Percent int    `json:"%,omitempty"`
	Message string `json:"m,omitempty"` // beside the percentage
	Summary bool   `json:"u,omitempty"` // shown at summary level
}

// Line makes a line of text.
func Line(activity string, category Category, text string) Entry {
	return Entry{Activity: activity, Category: category, Text: text}
}

// Open makes a new activity below parent.
func Open(activity, parent, name string, status Status) Entry {
	return Entry{Activity: activity, Change: &Change{Parent: parent, Name: name, Status: status}}
}

// Set changes an activity's status.
func Set(activity string, status Status) Entry {
	return Entry{Activity: activity, Change: &Change{Status: status}}
}

// Append stores entries in one chunk, in the caller's transaction, under the task's fence.
// It numbers them and stamps those that have no time. A lost fence is cluster.ErrFenced.
func Append(ctx context.Context, tx *db.Tx, fence cluster.Fence, entries ...Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first, err := fence.Lines(ctx, tx, len(entries))
	if err != nil {
		return err
	}
	body := new(bytes.Buffer)
	encode := json.NewEncoder(body)
	encode.SetEscapeHTML(false)
	for i := range entries {
		entries[i].Number = first + int64(i)
		if entries[i].At == 0 {
			entries[i].At = tx.Now.UnixMilli()
		}
		if err := encode.Encode(entries[i]); err != nil {
			return fmt.Errorf("encode log entry: %w", err)
		}
	}
	if _, err = tx.ExecContext(ctx, `INSERT INTO log_chunk (task, seq, entries, body) VALUES ($1, $2, $3, $4)`,
		fence.Task, first, len(entries), body.String()); err != nil {
		return fmt.Errorf("store log chunk: %w", err)
	}
	tx.Hint(topic(fence.Task))
	return nil
}

// topic is the hint that says: this task's log has grown. Each task has its own, so that a busy cluster does not wake who
// follows a quiet task.
func topic(task string) string { return "log " + task }
