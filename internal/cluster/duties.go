package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// startDuty gives true and notes the start when the duty's time has come; else when it will come.
func startDuty(ctx context.Context, tx *db.Tx, term Term, d Duty) (bool, time.Time, error) {
	if err := term.Hold(ctx, tx); err != nil {
		return false, time.Time{}, err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO duty (name, next, term, error) VALUES ($1, $2, 0, '') ON CONFLICT (name) DO NOTHING", d.Name, tx.Ms()); err != nil {
		return false, time.Time{}, err
	}
	res, err := tx.ExecContext(ctx, "UPDATE duty SET started = $2, ended = NULL, error = '', term = $3, next = $4 WHERE name = $1 AND next <= $2",
		d.Name, tx.Ms(), term.Number, tx.Now.Add(d.Every).UnixMilli())
	if err != nil {
		return false, time.Time{}, err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return n > 0, time.Time{}, err
	}
	var next int64
	err = tx.QueryRowContext(ctx, "SELECT next FROM duty WHERE name = $1", d.Name).Scan(&next)
	return false, time.UnixMilli(next), err
}

func endDuty(ctx context.Context, tx *db.Tx, term Term, name string, failed error) error {
	if err := term.Hold(ctx, tx); err != nil {
		return err
	}
	text := ""
	if failed != nil {
		text = failed.Error()
	}
	_, err := tx.ExecContext(ctx, "UPDATE duty SET ended = $2, error = $3 WHERE name = $1 AND term = $4", name, tx.Ms(), text, term.Number)
	return err
}

// duty does one duty whenever its time has come, as long as this node leads.
func (s *session) duty(ctx context.Context, term Term, d Duty) {
	wake, stop := s.n.db.Listen(dutyTopic(d.Name))
	defer stop()
	for {
		var due bool
		var next time.Time
		err := s.n.db.InTx(ctx, func(tx *db.Tx) (err error) {
			due, next, err = startDuty(ctx, tx, term, d)
			return err
		})
		if err == nil && due {
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
		pause := s.n.conf.Timing.Poll
		if err == nil && !due { // a poll finds what a lost hint or another clock brings
			pause = min(max(time.Until(next), pause), 30*time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(pause):
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

// DutyInfo is a duty as people see it.
type DutyInfo struct {
	Name           string
	Next           time.Time
	Started, Ended *time.Time // of the last time; Ended is nil while it goes on
	Error          string     // of the last time
}

// Duties lists all duties by name.
func Duties(ctx context.Context, tx *db.Tx) ([]DutyInfo, error) {
	rows, err := tx.QueryContext(ctx, "SELECT name, next, started, ended, error FROM duty ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []DutyInfo
	for rows.Next() {
		var i DutyInfo
		var next int64
		var started, ended sql.NullInt64
		if err := rows.Scan(&i.Name, &next, &started, &ended, &i.Error); err != nil {
			return nil, err
		}
		i.Next, i.Started, i.Ended = time.UnixMilli(next), moment(started), moment(ended)
		out = append(out, i)
	}
	return out, rows.Err()
}

// TriggerDuty lets a duty's time come now.
func TriggerDuty(ctx context.Context, tx *db.Tx, name string) error {
	res, err := tx.ExecContext(ctx, "UPDATE duty SET next = $2 WHERE name = $1", name, tx.Ms())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return fault.NotFoundf("There is no duty named %s.", name)
	}
	tx.Hint(dutyTopic(name))
	return nil
}
