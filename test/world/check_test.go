package world

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// install puts witnesses into the database: triggers that note what no committed state may show.
func install(ctx context.Context, tx *db.Tx) error {
	serial := "BIGINT GENERATED ALWAYS AS IDENTITY"
	if tx.Engine() == db.SQLite {
		serial = "INTEGER PRIMARY KEY AUTOINCREMENT"
	}
	statements := []string{
		`CREATE TABLE world_duty (n ` + serial + `, term BIGINT, started BIGINT, node TEXT)`,
		`CREATE TABLE world_violation (what TEXT)`,
	}
	// Each is a condition over old and new rows, with what it means.
	witness := map[string][][2]string{
		"queue": {
			{"I5 or I1: a claim by a node that is down or draining", `NEW.state = 'running' AND OLD.state <> 'running'
				AND NOT EXISTS (SELECT 1 FROM node n WHERE n.name = NEW.node AND n.state = 'up' AND NOT n.draining)`},
			{"I4: a claim above the cap", `NEW.state = 'running' AND OLD.state <> 'running' AND NOT NEW.cancel AND (SELECT count(*) FROM queue q
				WHERE q.node = NEW.node AND q.state = 'running' AND NOT q.cancel) > (SELECT n.cap FROM node n WHERE n.name = NEW.node)`},
			{"I1a: a token went back", `(NEW.incarnation, NEW.claim) < (OLD.incarnation, OLD.claim)`},
			{"I8: a cancel was taken back", `OLD.cancel AND NOT NEW.cancel`},
			{"I7: a log became shorter", `NEW.log_lines < OLD.log_lines`},
		},
		"task": {{"I2: an end was changed", `OLD.state <> 'live' AND NEW.state <> OLD.state`}},
	}
	for table, all := range witness {
		var body strings.Builder
		for _, w := range all {
			fmt.Fprintf(&body, "INSERT INTO world_violation SELECT '%s: %s ' || NEW.%s WHERE %s;\n", table, w[0], map[string]string{"queue": "task", "task": "id"}[table], w[1])
		}
		if tx.Engine() == db.SQLite {
			statements = append(statements, "CREATE TRIGGER world_"+table+" AFTER UPDATE ON "+table+" BEGIN "+body.String()+" END")
			continue
		}
		statements = append(statements,
			"CREATE FUNCTION world_"+table+"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "+body.String()+" RETURN NULL; END $$",
			"CREATE TRIGGER world_"+table+" AFTER UPDATE ON "+table+" FOR EACH ROW EXECUTE FUNCTION world_"+table+"()")
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// fenced is in every statement that names a fence.
const fenced = "WHERE task = $1 AND incarnation = $2 AND claim = $3"

// undone counts what fences have kept out.
func (w *world) undone(did []dbtest.Statement) {
	for _, s := range did {
		if strings.Contains(s.Query, fenced) && s.Rows == 0 {
			w.note("writes that were fenced")
		}
	}
}

// around sees every commit of every node. A transaction that names a fence must not follow one that named a higher one.
func (w *world) around(did []dbtest.Statement, commit func() error) error {
	w.commits.Lock()
	defer w.commits.Unlock()
	if err := commit(); err != nil {
		return err
	}
	if w.watch != nil {
		w.watch(did)
	}
	for i, s := range did {
		if !strings.Contains(s.Query, fenced) {
			continue
		}
		f := cluster.Fence{Task: s.Args[0].(string), Incarnation: s.Args[1].(int64), Claim: s.Args[2].(int64)}
		if s.Rows > 0 {
			if f.Less(w.fences[f.Task]) {
				w.fail("I1a: claim %d wrote for %s after claim %d had", f.Claim, f.Task, w.fences[f.Task].Claim)
			}
			w.fences[f.Task] = f
			continue
		}
		w.note("writes that were fenced")
		// What begins with a fence is all under it; a node that settles several tasks goes on with the others.
		whole := i == 0 && strings.HasPrefix(s.Query, "UPDATE queue SET updated = $4")
		for _, later := range did[i+1:] {
			if later.Rows > 0 && !strings.HasPrefix(later.Query, "SELECT") && (whole || slices.Contains(later.Args, any(f.Task))) {
				w.fail("I1a: claim %d wrote for %s though it had lost it: %s", f.Claim, f.Task, later.Query)
			}
		}
	}
	return nil
}

const dutyEvery = 2 * time.Second

// duty notes who ran the duty for which due time, as a leader has to write: under its term. It takes a while, and does not
// look whether its context has ended meanwhile, so that nothing but the term keeps a former leader out.
func duty(d *db.DB, node string) func(context.Context, cluster.Term) error {
	return func(ctx context.Context, term cluster.Term) error {
		var started int64
		err := d.Read(ctx, func(tx *db.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT started FROM duty WHERE name = 'World'").Scan(&started)
		})
		if err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
		ctx = context.WithoutCancel(ctx)
		return d.InTx(ctx, func(tx *db.Tx) error {
			if err := term.Hold(ctx, tx); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO world_duty (term, started, node) VALUES ($1, $2, $3)", term.Number, started, node)
			return err
		})
	}
}

// began is told of each script that begins to run.
func (w *world) began(p *process) {
	if p.what == "" {
		w.note("health checks begun")
		return
	}
	w.note("scripts begun")
	if p.fence.Claim > 1 {
		w.note("scripts begun by a later owner")
	}
}

// query reads rows of text with the test's own connection.
func (w *world) query(query string, args ...any) (rows [][]string) {
	err := w.sound.Read(context.Background(), func(tx *db.Tx) error {
		rows = nil
		r, err := tx.QueryContext(context.Background(), query, args...)
		if err != nil {
			return err
		}
		defer r.Close()
		columns, err := r.Columns()
		if err != nil {
			return err
		}
		for r.Next() {
			row, into := make([]string, len(columns)), make([]any, len(columns))
			for i := range row {
				into[i] = &row[i]
			}
			if err := r.Scan(into...); err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return r.Err()
	})
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return rows
}

// tasks gives all tasks, the oldest first.
func (w *world) tasks() (all []cluster.Task) {
	err := w.sound.Read(context.Background(), func(tx *db.Tx) (err error) {
		all, err = cluster.List(context.Background(), tx, cluster.Filter{})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// picture is the state of everything, for whoever has to find out why.
func (w *world) picture() string {
	var b strings.Builder
	for _, r := range w.query("SELECT name, state, epoch, cap, draining FROM node ORDER BY name") {
		fmt.Fprintf(&b, "node %v\n", r)
	}
	for _, t := range w.tasks() {
		fmt.Fprintf(&b, "%s %s %s head=%v cancel=%v node=%s claims=%d turn=%s %s\n", t.Id, t.Kind, t.State, t.Head, t.Cancelling, t.Node, t.Claims, t.Turn, t.ErrorMessage)
	}
	for _, p := range w.history() {
		fmt.Fprintf(&b, "%v: %.2f to %.2f, exit %d\n", &p, p.began.Sub(w.begin).Seconds(), p.over.Sub(w.begin).Seconds(), p.exit)
	}
	return b.String()
}

// history gives every script that ever ran, in the order in which they began.
func (w *world) history() (all []process) {
	for _, a := range w.agents {
		all = append(all, a.all()...)
	}
	all = slices.DeleteFunc(all, func(p process) bool { return p.began.IsZero() || p.what == "" })
	slices.SortStableFunc(all, func(a, b process) int { return a.began.Compare(b.began) })
	return all
}

// check holds what must be true at every moment.
func (w *world) check() {
	var query strings.Builder
	query.WriteString("SELECT what, '' FROM world_violation")
	for what, q := range map[string]string{
		"I3: a turn without a holder that others wait for": `SELECT '%s', q.task FROM queue q WHERE NOT q.head AND q.due AND q.state IN ('queued', 'released')
			AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = q.turn AND a.head)`,
		"I3: a turn with two that run":   `SELECT '%s', turn FROM queue WHERE state = 'running' AND NOT cancel AND turn IS NOT NULL GROUP BY turn HAVING count(*) > 1`,
		"I2: a live task without a row":  `SELECT '%s', t.id FROM task t WHERE t.state = 'live' AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.task = t.id)`,
		"I2: an ended task in the queue": `SELECT '%s', t.id FROM task t JOIN queue q ON q.task = t.id WHERE t.state <> 'live'`,
	} {
		fmt.Fprintf(&query, " UNION ALL "+q, what)
	}
	for _, r := range w.query(query.String()) {
		w.fail("%s %s", r[0], r[1])
	}
	w.checkScripts()
}

// checkScripts looks at what really ran: nothing twice, nothing of a turn beside something else of it.
func (w *world) checkScripts() {
	all := w.history() // no time passes until the tasks are read
	turns, states := map[string]string{}, map[string]string{}
	for _, r := range w.query("SELECT id, coalesce(turn, ''), state FROM task") {
		turns[r[0]], states[r[0]] = r[1], r[2]
	}
	once := map[string]*process{}
	for i := range all {
		p := &all[i]
		if p.running() && states[p.task] == string(cluster.Success) {
			w.fail("I2: %v runs, and its task has succeeded", p)
		}
		for _, name := range []string{p.ticket, p.task + p.what + p.agent.name} {
			if q := once[name]; q != nil {
				w.fail("I1b: %v ran, and then %v", q, p)
			}
			once[name] = p
		}
		for j := range i {
			q := &all[j]
			overlap := q.over.IsZero() || q.over.After(p.began)
			switch {
			case !overlap:
			case q.task == p.task && q.what != p.what:
				w.fail("I1c: %v runs beside %v, a step later", p, q)
			case q.task != p.task && turns[q.task] == turns[p.task] && turns[p.task] != "":
				w.fail("I3: %v runs beside %v of the same turn", p, q)
			}
		}
	}
}

// checkEnd holds what must be true when all is over.
func (w *world) checkEnd() {
	w.check()
	var lastTerm, lastStart int64
	for _, r := range w.query("SELECT term, started FROM world_duty ORDER BY n") {
		var term, started int64
		must(fmt.Sscan(r[0]+" "+r[1], &term, &started))
		if term < lastTerm {
			w.fail("I6: term %d wrote after term %d", term, lastTerm)
		}
		if started-lastStart < dutyEvery.Milliseconds() {
			w.fail("I6: the duty was started %d ms after it had been started", started-lastStart)
		}
		lastTerm, lastStart = term, started
	}
	for _, p := range w.history() {
		if p.running() {
			w.fail("I8, I13: %v runs on although all tasks have ended", &p)
		}
	}
	for _, t := range w.tasks() {
		if t.Kind == "Deploy" {
			w.checkLog(t)
		}
	}
}

// checkLog reads a task's log and compares it with what its scripts said (I7).
func (w *world) checkLog(t cluster.Task) {
	said := map[string][]string{} // by activity
	number := int64(0)
	_, err := tasklog.Reader{DB: w.sound, Blobs: w.blobs}.Each(context.Background(), t.Id, 0, func(e tasklog.Entry) error {
		if number++; e.Number != number {
			w.fail("I7: entry %d of %s follows %d", e.Number, t.Id, number-1)
		}
		if strings.Contains(e.Text, " of ") && strings.Contains(e.Text, ": ") && e.Remote > 0 {
			said[e.Activity] = append(said[e.Activity], e.Text)
		}
		return nil
	})
	if err != nil {
		w.fail("I7: the log of %s cannot be read: %v", t.Id, err)
	}
	if number != t.LogLines {
		w.fail("I7: the log of %s has %d entries, its row says %d", t.Id, number, t.LogLines)
	}
	scripts := 0
	for _, p := range w.history() {
		if p.task == t.Id {
			scripts++
		}
	}
	for activity, lines := range said {
		for i, line := range lines {
			if !strings.Contains(line, fmt.Sprintf(": %d of ", i+1)) {
				w.fail("I7: %s says at line %d: %q", activity, i+1, line)
			}
		}
	}
	want := 3
	if strings.Contains(t.Description, "Deploy Far") {
		want = 1
	}
	if t.State == cluster.Success && (len(said) != want || scripts != want) {
		w.fail("I7: %s succeeded with %d scripts of %d, and %d are in its log", t.Id, scripts, want, len(said))
	}
	for activity, lines := range said {
		if t.State == cluster.Success && !strings.HasSuffix(lines[len(lines)-1], fmt.Sprintf("%d of %d", len(lines), len(lines))) {
			w.fail("I7: %s ends with %q", activity, lines[len(lines)-1])
		}
	}
}
