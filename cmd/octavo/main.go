// Command octavo is the server and its administration commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/config"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/quickstart"
	"github.com/octavo/octavo/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		var f *fault.Fault
		if errors.As(err, &f) && len(f.More) > 0 {
			for _, sentence := range f.All() {
				fmt.Fprintln(os.Stderr, "octavo:", sentence)
			}
		} else {
			fmt.Fprintln(os.Stderr, "octavo:", err)
		}
		os.Exit(exitCode(err))
	}
}

// exitCode is 5 for awaited work that failed, 1 for everything else.
func exitCode(err error) int {
	if errors.Is(err, quickstart.ErrFailed) {
		return 5
	}
	return 1
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "octavo",
		Short:         "A highly available deployment-automation server",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.String(),
	}
	server := &cobra.Command{Use: "server", Short: "The server"}
	server.AddCommand(runCommand())
	cmd.AddCommand(server, nodeCommand(), adminCommand(), showMasterKeyCommand(), quickstartCommand(), pathCommand(), migrateStorageCommand(), backupCommand(), restoreCommand(), versionCommand(), toolCommand(), superviseCommand())
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
		fmt.Fprintln(cmd.OutOrStdout(), "octavo", version.String())
	}}
}

// settingsFlags gives a command the named settings as flags (all without names), and a reader for them.
func settingsFlags(cmd *cobra.Command, names ...string) func() (config.Server, error) {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	for _, s := range config.Settings(&config.Server{}) {
		if len(names) == 0 || wanted[s.Name] {
			help := fmt.Sprintf("%s (%s)", s.Help, s.Env)
			if s.List {
				cmd.Flags().StringSlice(s.Name, nil, help)
			} else {
				cmd.Flags().String(s.Name, s.Default, help)
			}
		}
	}
	cmd.Flags().String("config", os.Getenv("OCTAVO_CONFIG"), "YAML file of settings (OCTAVO_CONFIG)")
	return func() (config.Server, error) {
		given := map[string]string{}
		cmd.Flags().Visit(func(f *pflag.Flag) {
			given[f.Name] = f.Value.String()
			if list, ok := f.Value.(pflag.SliceValue); ok {
				given[f.Name] = strings.Join(list.GetSlice(), ",")
			}
		})
		file := cmd.Flags().Lookup("config").Value.String()
		delete(given, "config")
		var s config.Server
		_, err := config.Load(&s, file, given)
		return s, fault.Join(err, s.Check())
	}
}

// newLogger writes for a person on a terminal, else JSON or plain text as the settings say; the last lines can be read
// through the API.
func newLogger(s config.Server) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // checked with the settings
	if s.LogFormat == "json" {
		return slog.New(api.NewRecent(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
	}
	if s.LogFormat == "auto" && term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(api.NewRecent(tint.NewTextHandler(os.Stderr, &tint.Options{Level: level, NoColor: os.Getenv("NO_COLOR") != ""})))
	}
	return slog.New(api.NewRecent(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
}
