// Package variable holds variables, their scopes and precedence, and the #{...} language.
// It does no I/O but reading the clock for NowDate.
//
// # From sets to text
//
//	VariableSet ---\
//	library sets ---+--> []Candidate --Resolve(Context)--> *Dictionary --Evaluate--> text
//	typed values ---|                                          |
//	outputs --------/                                          \--EvaluateFile--> text of a file
//
// A set holds any number of values of one name. For each step and target, Resolve picks the one value
// of each name whose scope matches and ranks highest (variables.md 3); the language then sees a flat,
// ordered map without any scopes. Secrets must have been opened by then: a Dictionary knows texts only.
//
// # The language
//
//	file                  job
//	parse.go, calc.go     text -> tokens, by ordered choice with remembered outcomes
//	syntax.go             the tokens, and how they print when they stay unresolved
//	tree.go               names -> a tree of members and indexes
//	evaluate.go           tokens -> text, walking paths outwards through scopes
//	json.go               JSON as the original reads it
//	filter*.go            the filters
//
// There are two modes (variables.md 1.2). In halt mode, for values and settings, a text that does not
// parse as a whole is returned unchanged with a *ParseError. In continue mode, for files, what does not
// parse is plain text. In both, tokens that cannot be resolved stay in the text in their normalised
// form and are listed in an *Unresolved, which is a warning as much as an error: the text is good.
//
//	error                                text
//	nil, *Unresolved                     evaluated
//	*ParseError                          the template, unchanged
//	*LoopError, *FilterError             none
//	*LimitError                          none, or the template if it was found while parsing
//
// # Limits
//
// Anybody who may edit a variable may write a template, so an evaluation is bounded: MaxDepth values
// inside each other, a number of steps, an amount of text and the time of regular expressions. These are
// far above what deployments need; going beyond one is a *LimitError or a *LoopError, never a crash.
//
// Regular expressions are .NET's, so they backtrack; each has five seconds. Their engine keeps a clock
// goroutine for a while after use, which tests in a synctest bubble and leak checks have to know.
package variable
