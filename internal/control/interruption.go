package control

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// An interruption is a question that a task asks of people (deployments.md 6).
//
//	pending --Submit--> answered     by who has taken responsibility; the task is resumed in the same transaction
//	   |----Withdraw--> withdrawn    its task was cancelled, or has ended
//
// Whoever changes one after it was asked locks its task first (Resume, Cancel, the fence, the end), then the row, so that
// nobody waits for anybody in a circle, and the kinds that a task still asks are counted by one at a time.

const interruptionPrefix = "Interruptions"

// maxNotes bounds what a person may say.
const maxNotes = 64 << 10

// Question is what a task asks.
type Question struct {
	Task         cluster.Task
	About        string // which of the task's questions; asking the same again changes nothing
	Kind         string // deployment.ManualIntervention, deployment.GuidedFailure
	Title        string
	Instructions string
	Options      []string // the answers there are
	Teams        []string // ids; without any, whoever may deploy
	Documents    []string // ids of what it is about
	Activity     string   // of the task's log
}

// Answer is what a person said.
type Answer struct {
	About string
	Said  string // one of the question's options
	Notes string
	User  access.User // as he was called then
	At    time.Time
}

// Ask stores a question, in the transaction that stores what it is about. It says who may answer, for the log.
func Ask(ctx context.Context, tx *db.Tx, q Question) (who string, err error) {
	var teams, names []string
	for _, team := range q.Teams {
		o, err := get(ctx, tx, Teams, q.Task.SpaceId, team)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			teams, names = append(teams, team), append(names, team+" (deleted)")
		case err != nil:
			return "", err
		default:
			teams, names = append(teams, o.Text("Id")), append(names, o.Text("Name"))
		}
	}
	who = "whoever may deploy the project"
	if len(teams) > 0 {
		who = "members of " + strings.Join(names, ", ")
	}
	number, err := db.NextNumber(ctx, tx, interruptionPrefix)
	if err != nil {
		return "", err
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO interruption (number, space, task, about, kind, title, instructions, options, teams, documents, activity, created, state)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'pending') ON CONFLICT (task, about) DO NOTHING`,
		number, q.Task.SpaceId, q.Task.Id, q.About, q.Kind, clip(q.Title, 500), clip(q.Instructions, maxNotes), listText(q.Options), listText(teams), listText(q.Documents), q.Activity, tx.Ms())
	if err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return who, err
	}
	for _, document := range q.Documents {
		if _, err := tx.ExecContext(ctx, `INSERT INTO interruption_document (document, number) VALUES ($1, $2) ON CONFLICT DO NOTHING`, document, number); err != nil {
			return "", err
		}
	}
	tx.Hint(cluster.TaskTopic(q.Task.Id))
	return who, Event(access.With(ctx, access.System), tx, q.Task.SpaceId, q.Kind+"InterruptionRaised", q.Title+" waits for an answer", append([]string{id.New(interruptionPrefix, number)}, q.Documents...)...)
}

// Asked gives the kinds of what a task asks now, each once.
func Asked(ctx context.Context, tx *db.Tx, task string) (kinds []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT kind FROM interruption WHERE task = $1 AND state = 'pending' ORDER BY kind`, task)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			return nil, err
		}
		kinds = append(kinds, kind)
	}
	return kinds, rows.Err()
}

// Answers gives what people have said to a task's questions, in the order in which they said it.
func Answers(ctx context.Context, tx *db.Tx, task string) (answers []Answer, err error) {
	all, err := interruptions(ctx, tx, `WHERE task = $1 AND state = 'answered' ORDER BY ended, number`, task)
	for _, q := range all {
		user := access.User{Username: q.username, DisplayName: q.displayName, EmailAddress: q.email}
		user.Id = q.responsible
		answers = append(answers, Answer{About: q.about, Said: q.answer, Notes: q.notes, User: user, At: q.ended})
	}
	return answers, err
}

// Withdraw takes back what a task asks: it was cancelled, or has ended (deployments.md I14). The task is locked.
func Withdraw(ctx context.Context, tx *db.Tx, task, why string) error {
	pending, err := interruptions(ctx, tx, `WHERE task = $1 AND state = 'pending' ORDER BY number`, task)
	if err != nil || len(pending) == 0 {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE interruption SET state = 'withdrawn', ended = $2 WHERE task = $1 AND state = 'pending'`, task, tx.Ms()); err != nil {
		return err
	}
	for _, q := range pending {
		if err := q.event(ctx, tx, "InterruptionWithdrawn", q.title+" was withdrawn: "+why); err != nil {
			return err
		}
	}
	tx.Hint(cluster.TaskTopic(task))
	return cluster.StillAsked(ctx, tx, task)
}

// deleteInterruptions forgets what was ever asked in a space.
func deleteInterruptions(ctx context.Context, tx *db.Tx, space string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM interruption_document WHERE number IN (SELECT number FROM interruption WHERE space = $1)`, space); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM interruption WHERE space = $1`, space)
	return err
}

// interruption is a row.
type interruption struct {
	number                                        int64
	space, task, about, kind, title, instructions string
	options, teams, documents                     []string
	activity, state, responsible, answer, notes   string
	username, displayName, email                  string
	created, ended                                time.Time
}

func interruptions(ctx context.Context, tx *db.Tx, where string, args ...any) (list []interruption, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT number, space, task, about, kind, title, instructions, options, teams, documents, activity, created, state,
		responsible, answer, notes, username, display_name, email, coalesce(ended, 0) FROM interruption i `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var q interruption
		var options, teams, documents string
		var created, ended int64
		if err := rows.Scan(&q.number, &q.space, &q.task, &q.about, &q.kind, &q.title, &q.instructions, &options, &teams, &documents, &q.activity, &created, &q.state,
			&q.responsible, &q.answer, &q.notes, &q.username, &q.displayName, &q.email, &ended); err != nil {
			return nil, err
		}
		for text, to := range map[string]*[]string{options: &q.options, teams: &q.teams, documents: &q.documents} {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				return nil, fmt.Errorf("interruption %d: %w", q.number, err)
			}
		}
		q.created, q.ended = time.UnixMilli(created), time.UnixMilli(ended)
		list = append(list, q)
	}
	return list, rows.Err()
}

func listText(list []string) string {
	b, _ := json.Marshal(append([]string{}, list...)) // strings always can
	return string(b)
}

func (q *interruption) id() string { return id.New(interruptionPrefix, q.number) }

func (q *interruption) event(ctx context.Context, tx *db.Tx, category, message string) error {
	if access.From(ctx).UserId == "" {
		ctx = access.With(ctx, access.System)
	}
	return Event(ctx, tx, q.space, category, message, append([]string{q.id()}, q.documents...)...)
}

// asker is who looks at questions, or answers them.
type asker struct {
	access.Actor
	teams []string // he is in; not read for those who may answer any
}

func (c *Control) asker(ctx context.Context, tx *db.Tx, space string) (asker, error) {
	a := asker{Actor: access.From(ctx)}
	if a.May(access.InterruptionSubmit, space) {
		return a, nil
	}
	list, _, err := store.List(ctx, tx, &Teams.Kind, store.Query{Filters: map[string][]string{"member": {a.UserId}}})
	a.teams = []string{Everyone}
	for _, o := range list {
		a.teams = append(a.teams, o.Text("Id"))
	}
	return a, err
}

// mayAnswer tells whether he is among those a question is put to (deployments.md I10).
func (a *asker) mayAnswer(q *interruption) bool {
	switch {
	case a.May(access.InterruptionSubmit, q.space):
		return true
	case len(q.teams) == 0:
		return a.May(access.InterruptionViewSubmitResponsible, q.space) && a.May(access.DeploymentCreate, q.space)
	}
	return slices.ContainsFunc(q.teams, func(t string) bool { return slices.Contains(a.teams, t) })
}

func (a *asker) maySee(q *interruption) bool {
	return a.May(access.InterruptionView, q.space) || a.mayAnswer(q)
}

// InterruptionFilter chooses interruptions.
type InterruptionFilter struct {
	Ids         []string // nil is all
	Regarding   string   // the id of a task, deployment, project, environment or tenant
	PendingOnly bool
	Skip, Take  int
}

// Interruptions lists what was asked in a space, newest first; who may not see all sees what he may answer.
func (c *Control) Interruptions(ctx context.Context, space string, f InterruptionFilter) (list []Interruption, total int, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		list, total = nil, 0
		a, err := c.asker(ctx, tx, space)
		if err != nil {
			return err
		}
		args := []any{space}
		arg := func(v any) string { args = append(args, v); return fmt.Sprintf("$%d", len(args)) }
		where := "WHERE space = $1"
		if f.PendingOnly {
			where += " AND state = 'pending'"
		}
		if f.Regarding != "" {
			where += " AND EXISTS (SELECT 1 FROM interruption_document d WHERE d.number = i.number AND d.document = " + arg(canonicalTask(f.Regarding)) + ")"
		}
		if f.Ids != nil {
			where += " AND number IN (" + db.List(len(args)+1, len(f.Ids)) + ")"
			for _, s := range f.Ids {
				args = append(args, interruptionNumber(s))
			}
		}
		if !a.May(access.InterruptionView, space) {
			var in []string
			for _, team := range a.teams {
				in = append(in, "teams LIKE "+arg(`%"`+team+`"%`)) // ids have no wildcards
			}
			where += " AND (" + strings.Join(in, " OR ") + ")"
		}
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM interruption i "+where, args...).Scan(&total); err != nil || f.Take <= 0 {
			return err
		}
		rows, err := interruptions(ctx, tx, where+fmt.Sprintf(" ORDER BY number DESC LIMIT %d OFFSET %d", f.Take, f.Skip), args...)
		for i := range rows {
			list = append(list, rows[i].wire(&a))
		}
		return err
	})
	return list, total, err
}

// interruptionNumber is the 12 of Interruptions-12; 0, which nobody has, for anything else.
func interruptionNumber(s string) int64 {
	prefix, n, ok := id.Split(s)
	if !ok || !strings.EqualFold(prefix, interruptionPrefix) {
		return 0
	}
	return n
}

// find reads one that the caller may see.
func (c *Control) find(ctx context.Context, tx *db.Tx, space, id string) (interruption, asker, error) {
	list, err := interruptions(ctx, tx, "WHERE number = $1 AND space = $2", interruptionNumber(id), space)
	if err != nil {
		return interruption{}, asker{}, err
	}
	a, err := c.asker(ctx, tx, space)
	switch {
	case err != nil:
		return interruption{}, a, err
	case len(list) == 0 && !a.May(access.InterruptionView, space), len(list) > 0 && !a.maySee(&list[0]):
		return interruption{}, a, c.Authorize(ctx, access.InterruptionView, space)
	case len(list) == 0:
		return interruption{}, a, fault.NotFoundf("The resource '%s' was not found.", id)
	}
	return list[0], a, nil
}

// Interruption reads one.
func (c *Control) Interruption(ctx context.Context, space, id string) (w Interruption, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		q, a, err := c.find(ctx, tx, space, id)
		if err == nil {
			w = q.wire(&a)
		}
		return err
	})
	return w, err
}

// Responsible gives the user who holds a question, or who answered it.
func (c *Control) Responsible(ctx context.Context, space, id string) (user resource.Object, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		q, _, err := c.find(ctx, tx, space, id)
		if err != nil {
			return err
		}
		if q.responsible == "" {
			return fault.NotFoundf("Nobody has taken responsibility for %s yet.", q.id())
		}
		user, err = c.userOf(ctx, tx, q.responsible)
		return err
	})
	return user, err
}

func (c *Control) userOf(ctx context.Context, tx *db.Tx, userID string) (resource.Object, error) {
	o, err := get(ctx, tx, Users, "", userID)
	if err != nil {
		return nil, err
	}
	return o, c.show(ctx, tx, Users, o)
}

// TakeResponsibility lets the caller hold a question, also one that another holds (deployments.md I10).
func (c *Control) TakeResponsibility(ctx context.Context, space, id string) (user resource.Object, err error) {
	err = c.DB.InTx(ctx, func(tx *db.Tx) error {
		q, a, err := c.answerable(ctx, tx, space, id)
		if err != nil {
			return err
		}
		if user, err = c.userOf(ctx, tx, a.UserId); err != nil || q.responsible == a.UserId {
			return err
		}
		res, err := tx.ExecContext(ctx, `UPDATE interruption SET responsible = $2 WHERE number = $1 AND state = 'pending'`, q.number, a.UserId)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 { // it was answered meanwhile
			_, _, err := c.answerable(ctx, tx, space, id)
			return err
		}
		tx.Hint(cluster.TaskTopic(q.task))
		return q.event(ctx, tx, "InterruptionResponsibilityTaken", a.Username+" took responsibility for "+q.title)
	})
	return user, err
}

// answerable reads one that the caller may answer, and that nobody has answered.
func (c *Control) answerable(ctx context.Context, tx *db.Tx, space, id string) (interruption, asker, error) {
	q, a, err := c.find(ctx, tx, space, id)
	switch {
	case err != nil:
		return q, a, err
	case !a.mayAnswer(&q) && len(q.teams) > 0:
		return q, a, fault.Deniedf("Only members of the responsible teams (%s) may answer this interruption. Missing permission: %s", strings.Join(q.teams, ", "), access.InterruptionSubmit)
	case !a.mayAnswer(&q):
		return q, a, c.Authorize(ctx, access.InterruptionSubmit, space)
	}
	return q, a, q.over()
}

// over refuses what comes after a question's end, and says how it ended.
func (q *interruption) over() error {
	switch q.state {
	case "answered":
		return fault.Conflictf("%s has been answered already: %s said %s at %s.", q.id(), q.displayName, q.answer, q.ended.UTC().Format(time.RFC3339))
	case "withdrawn":
		return fault.Conflictf("%s was withdrawn: its task %s was cancelled, or has ended.", q.id(), q.task)
	}
	return nil
}

// Submission is the form as a client sends it; a manual intervention wants Result, guided failure wants Guidance.
type Submission struct {
	Instructions string // clients send it back; it is ours
	Notes        string
	Result       string
	Guidance     string
}

// Submit answers a question and resumes its task, in one transaction. Sending the same answer again is no error, since an
// answer's answer may get lost.
func (c *Control) Submit(ctx context.Context, space, id string, s Submission) (w Interruption, err error) {
	crashpoint.Reach("submit before")
	err = c.DB.InTx(ctx, func(tx *db.Tx) error {
		q, a, err := c.find(ctx, tx, space, id)
		if err != nil {
			return err
		}
		said, err := q.read(s)
		if err != nil {
			return err
		}
		notes := clip(s.Notes, maxNotes)
		if q.state == "answered" && q.responsible == a.UserId && q.answer == said && q.notes == notes {
			w = q.wire(&a)
			return nil
		}
		if q, a, err = c.answerable(ctx, tx, space, id); err != nil {
			return err
		}
		if err := cluster.Resume(ctx, tx, q.task); err != nil { // locks the task
			return err
		}
		user, err := store.View[access.User](ctx, tx, a.UserId)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, `UPDATE interruption SET state = 'answered', answer = $3, notes = $4, username = $5, display_name = $6, email = $7, ended = $8
			WHERE number = $1 AND responsible = $2 AND state = 'pending' RETURNING number`, q.number, a.UserId, said, notes, user.Username, user.DisplayName, user.EmailAddress, tx.Ms()).Scan(&q.number)
		if errors.Is(err, sql.ErrNoRows) {
			return c.whyNot(ctx, tx, space, id)
		}
		if err != nil {
			return err
		}
		kinds, err := Asked(ctx, tx, q.task)
		if err != nil {
			return err
		}
		if err := cluster.StillAsked(ctx, tx, q.task, kinds...); err != nil {
			return err
		}
		message := fmt.Sprintf("%s answered %s with %s", user.Username, q.title, said)
		if notes != "" {
			message += ": " + clip(notes, 500)
		}
		if err := q.event(ctx, tx, "InterruptionSubmitted", message); err != nil {
			return err
		}
		if q, a, err = c.find(ctx, tx, space, id); err != nil {
			return err
		}
		w = q.wire(&a)
		crashpoint.Reach("submit written")
		return nil
	})
	if err == nil {
		crashpoint.Reach("submit committed")
	}
	return w, err
}

// whyNot says why an answer was not taken.
func (c *Control) whyNot(ctx context.Context, tx *db.Tx, space, id string) error {
	q, _, err := c.answerable(ctx, tx, space, id)
	if err != nil {
		return err
	}
	if q.responsible == "" {
		return fault.Invalidf("You must take responsibility for this interruption before you submit it (PUT %s/responsible).", q.path())
	}
	holder := q.responsible
	if o, err := get(ctx, tx, Users, "", holder); err == nil {
		holder = o.Text("DisplayName")
	}
	return fault.Invalidf("%s has taken responsibility for this interruption, and nobody else may submit it. To answer it yourself, take it over first (PUT %s/responsible).", holder, q.path())
}

// read finds what was said among what may be said.
func (q *interruption) read(s Submission) (string, error) {
	if len(s.Notes) > maxNotes {
		return "", fault.InvalidField("Notes", "Notes may be %d KB long, not more.", maxNotes>>10)
	}
	member, said := q.member(), s.Result
	if q.kind == deployment.GuidedFailure {
		said = s.Guidance
	}
	for _, option := range q.options {
		if strings.EqualFold(strings.TrimSpace(said), option) {
			return option, nil
		}
	}
	if said == "" {
		return "", fault.InvalidField(member, "Please give an answer: %s must be one of %s.", member, strings.Join(q.options, ", "))
	}
	return "", fault.InvalidField(member, "%s must be one of %s, not '%s'.", member, strings.Join(q.options, ", "), said)
}

// member is the form's element that holds the answer.
func (q *interruption) member() string {
	if q.kind == deployment.GuidedFailure {
		return "Guidance"
	}
	return "Result"
}

func (q *interruption) path() string { return "/api/" + q.space + "/interruptions/" + q.id() }

// Interruption is one as the wire has it (rest-api.md 4).
type Interruption struct {
	resource.Meta
	Title                       string
	Type                        string
	Created                     resource.Time
	IsPending                   bool
	Form                        Form
	RelatedDocumentIds          []string
	ResponsibleTeamIds          []string
	ResponsibleUserId           *string
	CanTakeResponsibility       bool
	HasResponsibility           bool
	TaskId                      string
	CorrelationId               string
	IsLinkedToOtherInterruption bool
}

// Form is what a person fills in, and what he filled in.
type Form struct {
	Values   map[string]*string
	Elements []FormElement
}

// FormElement is one thing to read or fill in.
type FormElement struct {
	Name            string
	Control         FormControl
	IsValueRequired bool
}

// FormControl is how an element looks; which members it has depends on Type.
type FormControl struct {
	Type         string
	Text         string   `json:",omitempty"` // of a Paragraph
	ResolveLinks *bool    `json:",omitempty"`
	Label        string   `json:",omitempty"` // of a TextArea
	Buttons      []Button `json:",omitempty"` // of a SubmitButtonGroup
}

// Button is one answer.
type Button struct {
	Text                 string
	Value                string
	RequiresConfirmation bool
}

func (q *interruption) wire(a *asker) Interruption {
	w := Interruption{
		Title: q.title, Type: q.kind, Created: resource.Time{Time: q.created}, IsPending: q.state == "pending", RelatedDocumentIds: q.documents, ResponsibleTeamIds: q.teams,
		HasResponsibility: q.state == "pending" && q.responsible == a.UserId, TaskId: q.task, CorrelationId: q.activity,
	}
	w.Id, w.SpaceId = q.id(), q.space
	w.CanTakeResponsibility = w.IsPending && a.mayAnswer(q)
	if q.responsible != "" {
		w.ResponsibleUserId = &q.responsible
	}
	w.Links = map[string]string{"Self": q.path(), "Submit": q.path() + "/submit", "Responsible": q.path() + "/responsible"}
	w.Form.Values = map[string]*string{"Instructions": nil, "Notes": nil, q.member(): nil}
	if q.state == "answered" {
		w.Form.Values["Notes"], w.Form.Values[q.member()] = &q.notes, &q.answer
	}
	no := false
	buttons := FormElement{Name: q.member(), Control: FormControl{Type: "SubmitButtonGroup"}}
	for _, option := range q.options {
		confirm := option == deployment.AnswerAbort || option == deployment.AnswerFail || option == deployment.AnswerExclude
		buttons.Control.Buttons = append(buttons.Control.Buttons, Button{option, option, confirm})
	}
	w.Form.Elements = []FormElement{
		{Name: "Instructions", Control: FormControl{Type: "Paragraph", Text: q.instructions, ResolveLinks: &no}},
		{Name: "Notes", Control: FormControl{Type: "TextArea", Label: "Notes"}},
		buttons,
	}
	return w
}

// guided decides whether a person is asked when a step fails (deployments.md I1). It is decided once, when the deployment
// is made, with the variables as the release has them.
func guided(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment, q *deployment.Request, asked *bool) (bool, error) {
	const name = "Octopus.UseGuidedFailure"
	var candidates []variable.Candidate
	named := false
	for i, id := range append([]string{r.ProjectVariableSetSnapshotId}, r.LibraryVariableSetSnapshotIds...) {
		set, err := store.View[variable.VariableSet](ctx, tx, id)
		if err != nil {
			return false, err
		}
		source := variable.SourceLibrary
		if i == 0 {
			source = variable.SourceProject
		}
		for _, v := range set.Variables {
			named = named || strings.EqualFold(v.Name, name)
			candidates = append(candidates, variable.Candidate{Variable: v, Source: source})
			if typed, ok := q.FormValues[v.Id]; ok && v.Prompt != nil {
				candidates = append(candidates, variable.Typed(v, typed.Value))
			}
		}
	}
	text := ""
	if named {
		vars, _ := variable.Resolve(candidates, variable.Context{Environment: e.Id, Channel: r.ChannelId, Project: p.Id, ProcessOwner: p.Id})
		text = vars.Text(name)
	}
	return deployment.GuidedFailureOn(text, asked, p.DefaultGuidedFailureMode, e.UseGuidedFailure), nil
}
