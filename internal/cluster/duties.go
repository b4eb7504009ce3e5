package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// Duty is what one node of the cluster does again and again: the one that leads. When it last ran is a
// row, so a change of leader neither skips nor repeats it (behaviour.md P17).
type Duty struct {
	Name  string
	Every time.Duration
	Do    func(ctx context.Context, term Term) error
}

func dutyTopic(name string) string { return "duty:" + name }

// again is how soon a new leader repeats a duty that the one before it began and did not end. Not at once: the duty may be
// what killed it.
const again = time.Minute

// enrolDuty sees to it that the duty has a row with the interval of this version.
func enrolDuty(ctx context.Context, tx *db.Tx, term Term, d Duty) error {
	if err := term.Hold(ctx, tx); err != nil {
		return err
	}
	every := d.Every.Milliseconds()
	_, err := tx.ExecContext(ctx, `INSERT INTO duty (name, next, term, error, every, known) VALUES ($1, $2, 0, '', $3, $2)
		ON CONFLICT (name) DO UPDATE SET known = $2, every = $3,
			next = CASE WHEN duty.started IS NOT NULL AND duty.ended IS NULL AND duty.next > $4 THEN $4
				WHEN duty.next > $2 + $3 THEN $2 + $3 ELSE duty.next END`,
		d.Name, tx.Ms(), every, tx.Now.Add(min(again, d.Every)).UnixMilli())
	return err
}

// startDuty gives true and notes the start when the duty's time has come.
func startDuty(ctx context.Context, tx *db.Tx, term Term, node string, d Duty) (bool, error) {
	if err := term.Hold(ctx, tx); err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE duty SET started = $2, ended = NULL, error = '', term = $3, node = $4, next = $5
		WHERE name = $1 AND next <= $2 AND NOT paused`, d.Name, tx.Ms(), term.Number, node, tx.Now.Add(d.Every).UnixMilli())
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO duty_run (duty, started, term, node) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", d.Name, tx.Ms(), term.Number, node)
	return true, err
}

// keptRuns is how many of a duty's last times are remembered.
const keptRuns = 20

func endDuty(ctx context.Context, tx *db.Tx, term Term, name string, failed error) error {
	if err := term.Hold(ctx, tx); err != nil {
		return err
	}
	text := ""
	if failed != nil {
		text = strings.ToValidUTF8(strings.ReplaceAll(failed.Error(), "\x00", ""), "?")
	}
	if _, err := tx.ExecContext(ctx, "UPDATE duty SET ended = $2, error = $3 WHERE name = $1 AND term = $4", name, tx.Ms(), text, term.Number); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE duty_run SET ended = $2, error = $3 WHERE duty = $1 AND term = $4 AND ended IS NULL", name, tx.Ms(), text, term.Number)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM duty_run WHERE duty = $1
		AND started < (SELECT r.started FROM duty_run r WHERE r.duty = $1 ORDER BY r.started DESC LIMIT 1 OFFSET $2)`, name, keptRuns-1)
	return err
}

// duty does one duty whenever a view or a hint says that its time has come, as long as this node leads.
func (s *session) duty(ctx context.Context, term Term, d Duty, due <-chan struct{}) {
	wake, stop := s.n.db.Listen(dutyTopic(d.Name))
	defer stop()
	for enrolled := false; ; {
		var start bool
		err := s.n.db.InTx(ctx, func(tx *db.Tx) (err error) {
			if !enrolled {
				if err := enrolDuty(ctx, tx, term, d); err != nil {
					return err
				}
			}
			start, err = startDuty(ctx, tx, term, s.n.conf.Name, d)
			return err
		})
		enrolled = enrolled || err == nil
		if err == nil && start {
			failed := s.do(ctx, term, d)
			if ctx.Err() != nil {
				return // the next leader does it again in its time
			}
			s.warn(ctx, "duty "+d.Name, failed)
			err = s.n.db.InTx(ctx, func(tx *db.Tx) error { return endDuty(ctx, tx, term, d.Name, failed) })
		}
		if errors.Is(err, ErrLeaseLost) {
			return
		}
		s.warn(ctx, "duty "+d.Name, err)
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(s.n.conf.Timing.Poll)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-due:
		case <-retry:
		}
	}
}

func (s *session) do(ctx context.Context, term Term, d Duty) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return d.Do(ctx, term)
}

// forgottenDuty is how long the row of a duty stays that no leader knows any more: longer than two versions run side by side.
const forgottenDuty = 7 * 24 * time.Hour

// forgetDuties keeps the rows of the duties that this version has, and drops those that none has had for long.
func forgetDuties(ctx context.Context, tx *db.Tx, known []Duty) error {
	args := []any{tx.Ms()}
	for _, d := range known {
		args = append(args, d.Name)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE duty SET known = $1 WHERE name IN ("+db.List(2, len(known))+")", args...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM duty WHERE known < $1", tx.Now.Add(-forgottenDuty).UnixMilli())
	return err
}

// DutyInfo is a duty as people see it.
type DutyInfo struct {
	Name           string
	Every          time.Duration
	Paused         bool
	Next           time.Time  // passed while it is paused: then it runs as soon as it goes on
	Started, Ended *time.Time // of the last time; Ended is nil while it goes on
	Node           string     // who did it last
	Error          string     // of the last time
}

// Duties lists all duties by name.
func Duties(ctx context.Context, tx *db.Tx) ([]DutyInfo, error) {
	rows, err := tx.QueryContext(ctx, "SELECT name, every, paused, next, started, ended, node, error FROM duty ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DutyInfo
	for rows.Next() {
		var i DutyInfo
		var next, every int64
		var started, ended sql.NullInt64
		if err := rows.Scan(&i.Name, &every, &i.Paused, &next, &started, &ended, &i.Node, &i.Error); err != nil {
			return nil, err
		}
		i.Every, i.Next, i.Started, i.Ended = time.Duration(every)*time.Millisecond, time.UnixMilli(next), moment(started), moment(ended)
		out = append(out, i)
	}
	return out, rows.Err()
}

// DutyRun is one time that a duty was done.
type DutyRun struct {
	Node    string
	Term    int64
	Started time.Time
	Ended   *time.Time // nil while it goes on, or for ever when its leader's time was over before
	Error   string
}

// DutyRuns lists the last times of a duty, the newest first.
func DutyRuns(ctx context.Context, tx *db.Tx, name string) ([]DutyRun, error) {
	if err := hasDuty(ctx, tx, name); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, "SELECT node, term, started, ended, error FROM duty_run WHERE duty = $1 ORDER BY started DESC, term DESC", name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DutyRun
	for rows.Next() {
		var r DutyRun
		var started int64
		var ended sql.NullInt64
		if err := rows.Scan(&r.Node, &r.Term, &started, &ended, &r.Error); err != nil {
			return nil, err
		}
		r.Started, r.Ended = time.UnixMilli(started), moment(ended)
		out = append(out, r)
	}
	return out, rows.Err()
}

func hasDuty(ctx context.Context, tx *db.Tx, name string) error {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM duty WHERE name = $1", name).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return noDuty(name)
	}
	return err
}

func noDuty(name string) error { return fault.NotFoundf("There is no duty named %s.", name) }

// TriggerDuty lets a duty's time come now. One that is paused has to go on first.
func TriggerDuty(ctx context.Context, tx *db.Tx, name string) error {
	res, err := tx.ExecContext(ctx, "UPDATE duty SET next = $2 WHERE name = $1 AND NOT paused", name, tx.Ms())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		if err := hasDuty(ctx, tx, name); err != nil {
			return err
		}
		return fault.Conflictf("The duty %s is stopped. Start it first.", name)
	}
	tx.Hint(dutyTopic(name))
	return nil
}

// PauseDuty keeps a duty from running, or lets it go on; one whose time has come meanwhile runs at once. A run under way
// goes on.
func PauseDuty(ctx context.Context, tx *db.Tx, name string, pause bool) error {
	res, err := tx.ExecContext(ctx, "UPDATE duty SET paused = $2 WHERE name = $1", name, pause)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return noDuty(name)
	}
	tx.Hint(dutyTopic(name))
	return nil
}
