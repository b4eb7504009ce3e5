package engine

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/script"
)

// readPlan gives a task's plan and rows; a nil plan was not made yet.
func readPlan(ctx context.Context, tx *db.Tx, task string) (*deployment.Plan, []deployment.Run, error) {
	var body string
	err := tx.QueryRowContext(ctx, `SELECT body FROM plan WHERE task = $1`, task).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read plan of %s: %w", task, err)
	}
	plan := new(deployment.Plan)
	if err := json.Unmarshal([]byte(body), plan); err != nil {
		return nil, nil, fmt.Errorf("plan of %s: %w", task, err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT body FROM step_run WHERE task = $1 ORDER BY seq`, task)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var runs []deployment.Run
	for rows.Next() {
		var run deployment.Run
		if err := rows.Scan(&body); err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal([]byte(body), &run); err != nil {
			return nil, nil, fmt.Errorf("step run of %s: %w", task, err)
		}
		runs = append(runs, run)
	}
	return plan, runs, rows.Err()
}

func insertPlan(ctx context.Context, tx *db.Tx, task string, plan *deployment.Plan) error {
	body, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO plan (task, body, created) VALUES ($1, $2, $3)`, task, string(body), tx.Ms())
	return err
}

// runID is a row's key within its task; a second row for the same place and attempt is refused.
func runID(run deployment.Run) string { return fmt.Sprintf("%s#%d", run.Place, run.Attempt) }

func insertRun(ctx context.Context, tx *db.Tx, task string, seq int, run deployment.Run) error {
	body, err := json.Marshal(run)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO step_run (task, id, seq, body) VALUES ($1, $2, $3, $4)`, task, runID(run), seq, string(body))
	return err
}

func updateRun(ctx context.Context, tx *db.Tx, task string, run deployment.Run) error {
	body, err := json.Marshal(run)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE step_run SET body = $3 WHERE task = $1 AND id = $2`, task, runID(run), string(body))
	return err
}

// output is an output variable of a task (deployments.md E9).
type output struct {
	action, machine, machineID, name, value string
	sensitive                               bool
}

// storeOutput keeps an output variable; the last one set under a name wins.
func (w *work) storeOutput(ctx context.Context, tx *db.Tx, action string, at place, set script.SetVariable) error {
	w.putOut.Store(true) // if the transaction fails, they are read once for nothing
	seq, err := db.NextNumber(ctx, tx, "Outputs")
	if err != nil {
		return err
	}
	value, sealed := set.Value, []byte(nil)
	if set.Sensitive || w.mask.text(value) != value { // what holds a secret is one
		value = ""
		if sealed, err = w.seal("output_variable", w.task.Id, []byte(set.Value)); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO output_variable (task, action, machine, machine_name, name, seq, value, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (task, action, machine, name) DO UPDATE SET seq = excluded.seq, value = excluded.value, sealed = excluded.sealed`,
		w.task.Id, action, at.target, at.targetName, set.Name, seq, value, sealed)
	return err
}

// readOutputs gives a task's output variables in the order in which they were set.
func (w *work) readOutputs(ctx context.Context, tx *db.Tx) (outputs []output, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT action, machine, machine_name, name, value, sealed FROM output_variable WHERE task = $1 ORDER BY seq`, w.task.Id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var o output
		var sealed []byte
		if err := rows.Scan(&o.action, &o.machineID, &o.machine, &o.name, &o.value, &sealed); err != nil {
			return nil, err
		}
		if sealed != nil {
			plain, err := w.unseal("output_variable", w.task.Id, sealed)
			if err != nil {
				return nil, err
			}
			o.value, o.sensitive = string(plain), true
			w.mask.add(o.value)
		}
		outputs = append(outputs, o)
	}
	return outputs, rows.Err()
}
