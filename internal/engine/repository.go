package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
)

// The check of the built-in repository, which any node runs (behaviour.md 2.16, P15). It makes the index anew where it is
// not what ids and versions say; it reads every content back and holds it against its recorded size and SHA-256; it looks
// for files that nobody knows. What is missing or damaged is marked, told in the log and the audit trail, and makes the task
// fail. Nothing is ever deleted: a version without content can still be pushed again, which mends it.

// checkPace is how fast content is read, so that the disk is left to deployments (an unbounded check kept one busy for hours).
const checkPace = 64 << 20 // bytes a second

// checking is one run of the check.
type checking struct {
	*work
	pace     *rate.Limiter
	position string
	contents int64
	bytes    int64
	bad      int64
}

func (e *Engine) checkRepository(ctx context.Context, w *work) (cluster.Outcome, error) {
	c := &checking{work: w, pace: rate.NewLimiter(checkPace, 1<<20)}
	err := c.all(access.With(ctx, access.System))
	switch {
	case errors.Is(err, errCancelled):
		return w.end(ctx, cluster.Canceled, "The task was cancelled."), nil
	case err != nil:
		return nil, err
	case c.bad > 0:
		return w.end(ctx, cluster.Failed, fmt.Sprintf("%d contents of packages are missing or damaged; the log names them. Push those packages again (overwriteMode=OverwriteExisting), or restore the files from a backup.", c.bad)), nil
	}
	return w.end(ctx, cluster.Success, ""), nil
}

func (c *checking) all(ctx context.Context) error {
	begun, err := c.resume(ctx)
	if err != nil {
		return err
	}
	if err := c.storeIsThere(ctx); err != nil {
		return err
	}
	if !begun {
		if err := c.index(ctx); err != nil {
			return err
		}
	}
	if err := c.read(ctx); err != nil {
		return err
	}
	strangers, bytes, err := c.strangers(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Read %d contents (%s); %d are missing or damaged.", c.contents, size(c.bytes), c.bad)
	if strangers > 0 {
		text += fmt.Sprintf(" %d files (%s) belong to no package.", strangers, size(bytes))
	}
	return c.remark(ctx, text)
}

// resume reads how far an earlier owner came; false when nobody began.
func (c *checking) resume(ctx context.Context) (begun bool, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT position, contents, bytes, bad FROM repository_check WHERE task = $1`, c.task.Id).Scan(&c.position, &c.contents, &c.bytes, &c.bad)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		begun = err == nil
		return err
	})
	if err != nil || begun {
		return begun, err
	}
	return false, c.note(ctx, "check begin", tasklog.Entry{Activity: c.task.Id, Change: &tasklog.Change{Name: c.task.Description, Status: tasklog.Running, Summary: true}})
}

// storeIsThere refuses to call every package missing because a share is not mounted.
func (c *checking) storeIsThere(ctx context.Context) error {
	if err := blob.Present(ctx, c.Blobs); err != nil {
		return fault.Because(fault.Busyf("The blob store cannot be read, so nothing can be said of the packages: %v", err), err)
	}
	return nil
}

func (c *checking) remark(ctx context.Context, text string) error {
	return c.note(ctx, "check says", tasklog.Line(c.task.Id, tasklog.Info, text))
}

func (c *checking) goOn(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if isClosed(c.run.Cancelled()) {
		return errCancelled
	}
	return nil
}

// index makes anew what finds and orders versions.
func (c *checking) index(ctx context.Context) error {
	for at, done := (feed.Place{}), false; !done; {
		if err := c.goOn(ctx); err != nil {
			return err
		}
		next := at
		err := c.store(ctx, "check index", func(tx *db.Tx) error {
			var mended, clashes []string
			var err error
			if next, mended, clashes, done, err = feed.Reindex(ctx, tx, at, 200); err != nil {
				return err
			}
			if len(clashes) > 0 {
				if err := c.fence.SetWarnings(ctx, tx); err != nil {
					return err
				}
				if err := tasklog.Append(ctx, tx, c.fence, tasklog.Line(c.task.Id, tasklog.Error, "These are the same version by the rules of this server, so their index was left as it is: "+strings.Join(clashes, ", ")+". Please delete one of each.")); err != nil {
					return err
				}
			}
			if len(mended) == 0 {
				return nil
			}
			return tasklog.Append(ctx, tx, c.fence, tasklog.Line(c.task.Id, tasklog.Warning, "The index was wrong for these, and is mended: "+strings.Join(mended, ", ")+"."))
		})
		if err != nil {
			return err
		}
		at = next
	}
	return nil
}

// read reads every content from where the last owner stopped. A cancel is seen between two pieces of one.
func (c *checking) read(ctx context.Context) error {
	var all, total int64
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		all, total, err = feed.CountContents(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.remark(ctx, fmt.Sprintf("%d contents of packages (%s) are read, at %s a second at most.", max(all-c.contents, 0), size(max(total-c.bytes, 0)), size(checkPace))); err != nil {
		return err
	}
	reading, stop := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-c.run.Cancelled():
			stop(errCancelled)
		case <-reading.Done():
		}
	})
	defer watch.Wait()
	defer stop(nil)
	for {
		var page []feed.Content
		err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
			page, err = feed.Contents(ctx, tx, c.position, 20)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, content := range page {
			if err := c.goOn(ctx); err != nil {
				return err
			}
			if err := c.inspect(reading, ctx, content, all); err != nil {
				return err
			}
		}
	}
}

// inspect reads one content and stores what was found, and where we are.
func (c *checking) inspect(reading, ctx context.Context, content feed.Content, all int64) error { //nolint:revive // two contexts: reading ends with a cancel, storing does not
	trouble, why, err := c.Packages.Inspect(reading, content, c.pace)
	if err != nil {
		return err
	}
	versions := strings.Join(content.Versions, ", ")
	if trouble != "" {
		there, err := c.stillUsed(ctx, content.Key)
		if err != nil {
			return err
		}
		if !there {
			trouble = "" // it was deleted while we looked
		} else if err := c.storeIsThere(ctx); err != nil {
			return err
		}
	}
	contents, bytes, bad := c.contents+1, c.bytes+content.Size, c.bad
	err = c.store(ctx, "check content", func(tx *db.Tx) error {
		current, err := feed.Mark(ctx, tx, content, trouble)
		if err != nil {
			return err
		}
		trouble := trouble
		if !current {
			trouble = "" // it was pushed anew while we looked
		}
		var entries []tasklog.Entry
		bad = c.bad
		switch {
		case trouble != "":
			bad++
			entries = append(entries, tasklog.Line(c.task.Id, tasklog.Error, fmt.Sprintf("%s is %s: %s.", versions, trouble, why)))
		case content.Trouble != "":
			entries = append(entries, tasklog.Line(c.task.Id, tasklog.Info, fmt.Sprintf("%s was %s, and is whole again.", versions, content.Trouble)))
		}
		if percent := contents * 100 / max(all, contents); percent != c.contents*100/max(all, contents) {
			entries = append(entries, tasklog.Entry{Activity: c.task.Id, Change: &tasklog.Change{Percent: int(percent), Message: fmt.Sprintf("%d of %d", contents, max(all, contents))}})
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO repository_check (task, position, contents, bytes, bad) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (task) DO UPDATE SET position = excluded.position, contents = excluded.contents, bytes = excluded.bytes, bad = excluded.bad`,
			c.task.Id, content.Key, contents, bytes, bad); err != nil {
			return err
		}
		if trouble != "" && trouble != content.Trouble {
			if err := control.Event(ctx, tx, "", "PackageContentTrouble", "The content of package "+versions+" is "+trouble, c.task.Id); err != nil {
				return err
			}
		}
		return tasklog.Append(ctx, tx, c.fence, entries...)
	})
	if err == nil {
		c.position, c.contents, c.bytes, c.bad = content.Key, contents, bytes, bad
	}
	return err
}

// stillUsed tells whether some version still has this content.
func (c *checking) stillUsed(ctx context.Context, key string) (used bool, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		used, err = feed.Used(ctx, tx, key)
		return err
	})
	return used, err
}

// shownStrangers is how many files that nobody knows are named.
const shownStrangers = 100

func (c *checking) strangers(ctx context.Context) (n, total int64, err error) {
	var names []string
	err = c.Packages.Strangers(ctx, func(info blob.Info) error {
		n, total = n+1, total+info.Size
		if len(names) < shownStrangers {
			names = append(names, fmt.Sprintf("%s (%s, of %s)", info.Key, size(info.Size), info.Modified.UTC().Format("2006-01-02")))
		}
		return c.goOn(ctx)
	})
	if err != nil || n == 0 {
		return n, total, err
	}
	var entries []tasklog.Entry
	for some := range slices.Chunk(names, 20) {
		entries = append(entries, tasklog.Line(c.task.Id, tasklog.Warning, "These files belong to no package, and stay: "+strings.Join(some, ", ")+"."))
	}
	return n, total, c.store(ctx, "check strangers", func(tx *db.Tx) error {
		if err := c.fence.SetWarnings(ctx, tx); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, c.fence, entries...)
	})
}
