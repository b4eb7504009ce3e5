package convention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/script"
)

const exitUsage = 64

// commands is the table in doc.go.
var commands = map[string]func(*action) error{
	"find-packages":     (*action).findPackages,
	"verify-packages":   (*action).verifyPackages,
	"download-packages": (*action).downloadPackages,
	"trim-cache":        (*action).trimCache,
	"deploy-package":    (*action).deployPackage,
	"run-script":        (*action).runScript,
	"transfer-package":  (*action).transferPackage,
	"clean":             (*action).clean,
}

// Commands lists what Main knows.
func Commands() []string {
	var names []string
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Main is `octavo-agent tool`: args are the words behind "tool", the working directory is the workspace. It gives the
// exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	workspace, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return runIn(ctx, workspace, os.Environ(), args, stdout, stderr)
}

func runIn(ctx context.Context, workspace string, environ, args []string, stdout, stderr io.Writer) int {
	do, ok := commands[strings.Join(args, " ")]
	if !ok {
		fmt.Fprintf(stderr, "octavo-agent tool: %q is not a command of this version; there are: %s.\n", strings.Join(args, " "), strings.Join(Commands(), ", "))
		return exitUsage
	}
	a, err := newAction(ctx, workspace, environ, stdout, stderr)
	if err == nil {
		defer a.workspace.Close()
		err = do(a)
	}
	return report(err, stdout, stderr)
}

// report tells how it ended. A script that failed has said why itself.
func report(err error, stdout, stderr io.Writer) int {
	var failed *scriptFailed
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		fmt.Fprintln(stderr, err)
		return failed.exitCode()
	}
	fmt.Fprintln(stderr, err)
	fmt.Fprintln(stdout, script.Message("resultMessage", "message", err.Error()))
	return 1
}

// readVariables takes the variables out of the workspace: both files are gone before anything is done with them.
func readVariables(root *os.Root) ([]script.Variable, error) {
	sealed, err := root.ReadFile(variablesName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Invalidf("There is no %s in the working directory; this command is started by a server.", variablesName)
	}
	if err != nil {
		return nil, err
	}
	key, err := root.ReadFile(keyName)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(root.Remove(keyName), root.Remove(variablesName)); err != nil {
		return nil, err
	}
	password := strings.TrimSpace(string(key))
	if password == "" {
		return nil, fault.Invalidf("%s is empty.", keyName)
	}
	return script.OpenVariables(sealed, password)
}

// readJSON reads one of the lists a server sent.
func (a *action) readJSON(name string, v any) error {
	b, err := a.workspace.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Invalidf("There is no %s in the working directory; the server has to send it with this command.", name)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fault.Because(fault.Invalidf("%s cannot be read: %v.", name, err), err)
	}
	return nil
}
