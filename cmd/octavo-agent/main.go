// Command octavo-agent runs scripts on a machine for a server, and is the target-side tool of package steps.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	var code exitCode
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		var f *fault.Fault
		if errors.As(err, &f) {
			for _, sentence := range f.All() {
				fmt.Fprintln(os.Stderr, "octavo-agent:", sentence)
			}
		} else {
			fmt.Fprintln(os.Stderr, "octavo-agent:", err)
		}
		os.Exit(1)
	}
}

// exitCode ends the process without another word: what went wrong was said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "octavo-agent",
		Short:         "Runs scripts on this machine for an Octavo or Octopus server",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.String(),
	}
	cmd.SetGlobalNormalizationFunc(otherSpellings)
	cmd.AddCommand(agentCommands()...)
	cmd.AddCommand(toolCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version.String()) },
	})
	return cmd
}

// otherSpellings lets flags be written as Tentacle's users know them.
func otherSpellings(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	known := map[string]string{
		"apikey": "apiKey", "api-key": "apiKey", "publicHostName": "public-hostname", "env": "environment", "environments": "environment",
		"roles": "role", "tenants": "tenant", "tenanttags": "tenanttag", "tentacle-comms-port": "port", "noListen": "no-listen",
		"pollingConnectionCount": "polling-connections", "home": "data", "workerpool": "worker-pool", "app": "applications",
	}
	if other, ok := known[name]; ok {
		name = other
	}
	return pflag.NormalizedName(name)
}

// toolCommand is started by servers in a script's workspace; its arguments are the convention package's.
func toolCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tool COMMAND", Short: "What a server does with packages on this machine; servers start it", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := convention.Main(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr()); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}
