package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
)

// Labels puts labels in the form in which they are stored and compared: checked, sorted, each once (behaviour.md P29).
// member is the setting or the member of a document that they come from.
func Labels(member string, words []string) ([]string, error) {
	out := []string{}
	for _, w := range words {
		if !id.IsLabel(w) {
			return nil, fault.InvalidField(member, "%q is no label. %s", w, id.LabelForm)
		}
		out = append(out, w)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// labelsText is a list of labels as the row of node keeps it; a claim looks for "word" in it, quotes and all.
func labelsText(labels []string) (string, error) {
	if labels == nil {
		labels = []string{}
	}
	b, err := json.Marshal(labels)
	return string(b), err
}

// has tells that a node with these labels may run a task with these needs.
func has(labels []string, needs string) bool {
	for word := range strings.FieldsSeq(needs) {
		if !slices.Contains(labels, word) {
			return false
		}
	}
	return true
}

// readyNeeds lists the sets of labels that ready tasks ask for: one probe of the index for each.
func readyNeeds(ctx context.Context, tx *db.Tx) (sets []string, err error) {
	last := ""
	for len(sets) < maxNeeds {
		err := tx.QueryRowContext(ctx, `SELECT q.needs FROM queue q WHERE q.head AND q.state IN ('queued', 'released') AND q.needs <> '' AND NOT q.parked
			AND q.needs > $1 ORDER BY q.needs LIMIT 1`, last).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			return nil, err
		}
		sets = append(sets, last)
	}
	return sets, nil
}

// maxNeeds bounds how many different sets of labels are looked at in one go.
const maxNeeds = 200

// SetLabels gives a node other labels. From the commit on it claims what these allow (row 35); what runs goes on.
func SetLabels(ctx context.Context, tx *db.Tx, node string, labels []string) error {
	labels, err := Labels("Labels", labels)
	if err != nil {
		return err
	}
	text, err := labelsText(labels)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(node, nodePrefix)
	res, err := tx.ExecContext(ctx, "UPDATE node SET labels = $2 WHERE name = $1", name, text)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return fault.NotFoundf("There is no node named %s.", name)
	}
	tx.Hint(nodeTopic(name))
	return nil
}

// served lists the sets of labels that ready tasks ask for and a node has; text is the list of its labels as its row has it.
func served(ctx context.Context, tx *db.Tx, text string) ([]string, error) {
	var labels []string
	if err := json.Unmarshal([]byte(text), &labels); err != nil {
		return nil, fmt.Errorf("labels of a node: %w", err)
	}
	if len(labels) == 0 {
		return nil, nil
	}
	sets, err := readyNeeds(ctx, tx)
	return slices.DeleteFunc(sets, func(needs string) bool { return !has(labels, needs) }), err
}
