package engine

import (
	"context"
	"strings"
	"sync"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/secret/mask"
)

// masks hides a task's secrets in everything that is stored for people to read (variables.md 6).
type masks struct {
	mu     sync.Mutex
	values map[string]bool
	set    *mask.Set
}

func newMasks() *masks { return &masks{values: map[string]bool{}, set: mask.NewSet(nil)} }

// add hides more values from now on; the lines of one with several are hidden each.
func (m *masks) add(values ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for _, value := range values {
		for _, part := range append(strings.Split(value, "\n"), value) {
			part = strings.TrimRight(part, "\r")
			if !m.values[part] && part != "" {
				m.values[part], changed = true, true
			}
		}
	}
	if changed {
		all := make([]string, 0, len(m.values))
		for value := range m.values {
			all = append(all, value)
		}
		m.set = mask.NewSet(all)
	}
}

// text is s with every secret replaced.
func (m *masks) text(s string) string {
	m.mu.Lock()
	set := m.set
	m.mu.Unlock()
	return set.Text(s)
}

// loadMasks reads what scripts of this task have asked to hide so far.
func (w *work) loadMasks(ctx context.Context, tx *db.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT sealed FROM task_mask WHERE task = $1`, w.task.Id)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var sealed []byte
		if err := rows.Scan(&sealed); err != nil {
			return err
		}
		value, err := w.unseal("task_mask", w.task.Id, sealed)
		if err != nil {
			return err
		}
		w.mask.add(string(value))
	}
	return rows.Err()
}

// storeMask remembers a value that a script asked to hide, for the rest of the task.
func (w *work) storeMask(ctx context.Context, tx *db.Tx, value string) error {
	sealed, err := w.seal("task_mask", w.task.Id, []byte(value))
	if err != nil {
		return err
	}
	seq, err := db.NextNumber(ctx, tx, "Masks")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO task_mask (task, seq, sealed) VALUES ($1, $2, $3)`, w.task.Id, seq, sealed)
	return err
}
