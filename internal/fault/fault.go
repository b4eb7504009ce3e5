// Package fault is the one error type a person may see.
//
// Whatever nobody classified is Internal: ours to mend, logged, and never shown.
// The faces turn a Kind into a status in one place.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says whose turn it is to do something about an error.
type Kind int

// The kinds; the zero value is Internal, so an unclassified error is never shown raw.
const (
	Internal        Kind = iota // a defect or a broken dependency: 500
	Invalid                     // the request is wrong: 400
	NotFound                    // there is no such thing: 404
	Denied                      // the caller may not: 403
	Unauthenticated             // we do not know the caller: 401
	Conflict                    // somebody was first: 409
	Busy                        // not now; try again: 503
	TooLarge                    // the body is larger than we take: 413
)

// Fault is an error with a text for the person who caused it.
type Fault struct {
	Kind  Kind
	Field string   // the request's member at fault, if there is one
	Text  string   // for the person: no SQL, no paths, no secrets
	More  []string // further sentences, when several things are wrong at once
	Cause error    // for the log only
}

// Error is the text for the person; More is joined behind it.
func (f *Fault) Error() string {
	if len(f.More) == 0 {
		return f.Text
	}
	return f.Text + " " + strings.Join(f.More, " ")
}

// Unwrap gives the cause, for errors.Is and errors.As.
func (f *Fault) Unwrap() error { return f.Cause }

// All lists every sentence: Text first, then More.
func (f *Fault) All() []string { return append([]string{f.Text}, f.More...) }

// InvalidField refuses a request because of one member of it.
func InvalidField(field, format string, args ...any) error {
	return &Fault{Kind: Invalid, Field: field, Text: fmt.Sprintf(format, args...)}
}

// Invalidf refuses a request.
func Invalidf(format string, args ...any) error {
	return &Fault{Kind: Invalid, Text: fmt.Sprintf(format, args...)}
}

// NotFoundf says that there is no such thing.
func NotFoundf(format string, args ...any) error {
	return &Fault{Kind: NotFound, Text: fmt.Sprintf(format, args...)}
}

// Deniedf says that the caller may not.
func Deniedf(format string, args ...any) error {
	return &Fault{Kind: Denied, Text: fmt.Sprintf(format, args...)}
}

// Conflictf says that somebody or something was there first.
func Conflictf(format string, args ...any) error {
	return &Fault{Kind: Conflict, Text: fmt.Sprintf(format, args...)}
}

// Busyf says: not now.
func Busyf(format string, args ...any) error {
	return &Fault{Kind: Busy, Text: fmt.Sprintf(format, args...)}
}

// Because attaches the cause that belongs in the log to a fault made above.
func Because(err, cause error) error {
	var f *Fault
	if !errors.As(err, &f) {
		return err
	}
	c := *f
	c.Cause = cause
	return &c
}

// Join puts two refusals into one with all sentences of both; each may be nil.
func Join(a, b error) error {
	var f, g *Fault
	if !errors.As(a, &f) || !errors.As(b, &g) {
		return errors.Join(a, b)
	}
	joined := *f
	joined.More = append(append([]string{}, f.More...), g.All()...)
	return &joined
}

// KindOf classifies any error; nil and unclassified ones are Internal.
func KindOf(err error) Kind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return Internal
}

// List gathers several refusals, so that a person sees all of them at once.
type List struct{ texts []string }

// Add keeps one more sentence.
func (l *List) Add(format string, args ...any) {
	l.texts = append(l.texts, fmt.Sprintf(format, args...))
}

// Err is nil when nothing was added, else one Invalid fault with all sentences.
func (l *List) Err() error {
	if len(l.texts) == 0 {
		return nil
	}
	return &Fault{Kind: Invalid, Text: l.texts[0], More: l.texts[1:]}
}
