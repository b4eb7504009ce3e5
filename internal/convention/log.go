package convention

import (
	"fmt"
	"io"

	"github.com/octavo/octavo/internal/script"
)

// log writes lines for the task log. Levels are service messages around a line, since scripts write to the same output.
type log struct{ out io.Writer }

func (l log) at(level, format string, args []any) {
	fmt.Fprintf(l.out, "%s\n%s\n%s\n", script.Message("stdout-"+level), fmt.Sprintf(format, args...), script.Message("stdout-default"))
}

func (l log) info(format string, args ...any)    { fmt.Fprintf(l.out, format+"\n", args...) }
func (l log) verbose(format string, args ...any) { l.at("verbose", format, args) }
func (l log) warning(format string, args ...any) { l.at("warning", format, args) }
func (l log) failure(format string, args ...any) { l.at("error", format, args) }

// message writes a service message on a line of its own.
func (l log) message(name string, pairs ...string) {
	fmt.Fprintln(l.out, script.Message(name, pairs...))
}
