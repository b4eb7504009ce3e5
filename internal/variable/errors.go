package variable

import (
	"fmt"
	"strings"
)

// Unresolved says that tokens could not be evaluated. The text that comes with it is good: each such
// token stands in it in its normalised form (variables.md 1.6).
type Unresolved struct {
	Tokens []string // distinct, in the order in which they were met
}

func (e *Unresolved) Error() string {
	return "The following tokens were unable to be evaluated: '" + strings.Join(e.Tokens, "', '") + "'"
}

// ParseError says where a template stops being one. The text that comes with it is the template, unchanged.
type ParseError struct {
	Line, Column int // from 1; the column counts characters
	Near         string
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("The text does not parse at line %d, column %d, near %q. Write ## for a literal # before a {.", e.Line, e.Column, e.Near)
}

// LoopError says that values refer to each other in a circle, or nest deeper than we follow.
// There is no text then (variables.md 1.6).
type LoopError struct {
	Chain []string // from the entry point to the repeated symbol
	Depth bool     // not a circle found, but MaxDepth contexts inside each other
}

func (e *LoopError) Error() string {
	symbol := e.Chain[len(e.Chain)-1]
	if e.Depth {
		return fmt.Sprintf("An attempt to parse the variable symbol %q nests more than %d values inside each other. Ensure that recursive loops do not exist in the variable values.", symbol, MaxDepth)
	}
	return fmt.Sprintf("An attempt to parse the variable symbol %q appears to have resulted in a self referencing loop (%s). Ensure that recursive loops do not exist in the variable values.",
		symbol, strings.Join(e.Chain, " -> "))
}

// FilterError says that a filter could not do its work and that the evaluation ended there (variables.md 2, "throws").
type FilterError struct {
	Filter string
	Token  string // the whole token, normalised
	Cause  error
}

func (e *FilterError) Error() string {
	return fmt.Sprintf("The filter %s failed in %s: %v", e.Filter, e.Token, e.Cause)
}

func (e *FilterError) Unwrap() error { return e.Cause }

// LimitError says that a template would take more work than we allow one evaluation.
type LimitError struct {
	What string
}

func (e *LimitError) Error() string {
	return "The evaluation was stopped: " + e.What + ". Simplify the template, or split it."
}
