//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/octavo/octavo/internal/agent"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/systemd"
	"github.com/octavo/octavo/internal/version"
)

func agentCommands() []*cobra.Command {
	return []*cobra.Command{
		runCommand(), configureCommand(), registerCommand(false), registerCommand(true), pollServerCommand(),
		newCertificateCommand(), showThumbprintCommand(), superviseCommand(), upgradeCommand(),
	}
}

// dataFlag is where an instance keeps its settings, certificate and scripts.
func dataFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("data", defaultData(), "directory of this agent's settings, certificate and scripts (OCTAVO_AGENT_DATA)")
}

func defaultData() string {
	if dir := os.Getenv("OCTAVO_AGENT_DATA"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if os.Geteuid() == 0 || err != nil {
		return "/var/lib/octavo-agent"
	}
	return filepath.Join(home, ".local", "share", "octavo-agent")
}

func absolute(dir string) (string, error) {
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", fault.InvalidField("data", "--data %q: %v.", dir, err)
	}
	return full, nil
}

func runCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "run", Short: "Run the agent; scripts go on when it stops", Args: cobra.NoArgs, Aliases: []string{"agent"}}
	data := dataFlag(cmd)
	listen := cmd.Flags().String("listen", "", "listen at this host:port instead of the configured one; port 0 takes a free one")
	level := cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	format := cmd.Flags().String("log-format", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := newLog(*level, *format)
		if err != nil {
			return err
		}
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		program := agent.ProgramIn(dir)
		if next, err := program.Choose(self, log); err != nil {
			log.Warn("whether the server sent another program is unknown", "err", err)
		} else if next != "" {
			return become(next)
		}
		agent.ReapInherited()
		settings, err := agent.LoadSettings(dir)
		if err != nil {
			return err
		}
		a, err := agent.Open(agent.Config{
			Data: dir, Supervisor: []string{self, "supervise"}, Listen: *listen, Applications: settings.Applications,
			Instance: settings.Name, Version: version.String(), Log: log,
		})
		if err != nil {
			return err
		}
		id, err := agent.LoadIdentity(dir)
		if err != nil {
			return errors.Join(err, a.Close())
		}
		log.Info("agent", "version", version.String(), "data", dir, "thumbprint", id.Thumbprint)
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		ready := func() {
			systemd.Ready(log)
			if err := program.Serves(self); err != nil {
				log.Warn("that this program serves cannot be noted", "err", err)
			}
		}
		if !settings.Listens() && *listen == "" {
			ready()
		}
		var beside sync.WaitGroup
		beside.Go(func() { systemd.Watch(ctx, log, func(context.Context) error { return nil }) })
		var replaced bool
		beside.Go(func() {
			replaced = program.Replaced(ctx) == nil
			stop()
		})
		err = a.Serve(ctx, id, func(at net.Addr) {
			fmt.Fprintln(cmd.OutOrStdout(), "Listening on", at)
			ready()
		})
		stop()
		beside.Wait()
		if err == nil && replaced && cmd.Context().Err() == nil {
			log.Info("becoming the program that the server sent; scripts go on")
			if err := a.Close(); err != nil {
				return err
			}
			return become(program.Path())
		}
		systemd.Stopping(log)
		log.Info("stopping; scripts go on")
		return errors.Join(err, a.Close())
	}
	return cmd
}

// become makes this process another program with the same arguments.
func become(program string) error {
	return fmt.Errorf("become %s: %w", program, syscall.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ()))
}

func upgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Have the agent of this machine become the program in a file; servers start it", Args: cobra.NoArgs, Hidden: true,
	}
	data := dataFlag(cmd)
	from := cmd.Flags().String("from", "", "file of the new program; it is moved into place")
	digest := cmd.Flags().String("sha256", "", "its SHA-256, in hexadecimal")
	wait := cmd.Flags().Duration("wait", time.Minute, "how long the agent may take for it")
	_ = cmd.MarkFlagRequired("from")   // the flag exists
	_ = cmd.MarkFlagRequired("sha256") // the flag exists
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		if err := agent.ProgramIn(dir).Upgrade(cmd.Context(), *from, *digest, *wait); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "The agent is %s now.\n", version.String())
		return nil
	}
	return cmd
}

func newLog(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fault.InvalidField("log-level", "--log-level is debug, info, warn or error; %q is none of them.", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return nil, fault.InvalidField("log-format", "--log-format is text or json; %q is neither.", format)
}

func configureCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "configure", Short: "Change this agent's settings; trust counts within seconds, the rest from the next start", Args: cobra.NoArgs,
		Example: "  octavo-agent configure --trust 5A3E... --listen :10933\n  octavo-agent configure --reset-trust",
	}
	data := dataFlag(cmd)
	f := cmd.Flags()
	trust := f.StringArray("trust", nil, "thumbprint of a server that may dial this machine; can be repeated")
	removeTrust := f.StringArray("remove-trust", nil, "thumbprint of a server not to trust any more; can be repeated")
	resetTrust := f.Bool("reset-trust", false, "trust no server, and poll none")
	listen := f.String("listen", "", "host:port to listen on for servers")
	port := f.Int("port", 0, "port to listen on, on all addresses")
	noListen := f.Bool("no-listen", false, "do not listen; only poll")
	applications := f.String("applications", "", "directory packages are extracted to")
	name := f.String("name", "", "name of this instance, for scripts")
	connections := f.Int("polling-connections", 0, "connections to each polled server; workers want 5 or more")
	cmd.MarkFlagsMutuallyExclusive("listen", "port")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		if _, err := agent.LoadIdentity(dir); err != nil { // a new instance gets its certificate here
			return err
		}
		return agent.UpdateSettings(dir, func(s *agent.Settings) error {
			if *resetTrust {
				s.Servers = nil
			}
			for _, text := range *removeTrust {
				t, err := agent.Thumbprint(text)
				if err != nil {
					return err
				}
				if !s.Distrust(t) {
					return fault.InvalidField("remove-trust", "The server %s is not trusted, so there is nothing to remove.", t)
				}
			}
			for _, text := range *trust {
				t, err := agent.Thumbprint(text)
				if err != nil {
					return err
				}
				s.Trust(t)
			}
			if *port != 0 {
				*listen = ":" + strconv.Itoa(*port)
			}
			if *listen != "" {
				if _, _, err := net.SplitHostPort(*listen); err != nil {
					return fault.InvalidField("listen", "--listen is host:port, as in 0.0.0.0:10933 or :10933; %q is not.", *listen)
				}
				s.Listen = *listen
			}
			if cmd.Flags().Changed("no-listen") {
				s.NoListen = *noListen
			}
			if *applications != "" {
				if s.Applications, err = absolute(*applications); err != nil {
					return err
				}
			}
			if *name != "" {
				s.Name = *name
			}
			if *connections < 0 || *connections > 512 {
				return fault.InvalidField("polling-connections", "--polling-connections is 1 to 512; %d is not.", *connections)
			}
			if *connections > 0 {
				s.PollingConnections = *connections
			}
			return nil
		})
	}
	return cmd
}

// serverFlags are what register-with and poll-server share.
func serverFlags(cmd *cobra.Command, r *agent.Registration) {
	f := cmd.Flags()
	f.StringVar(&r.Server, "server", "", "address of the server, as https://octavo.example.com")
	f.StringVar(&r.APIKey, "apiKey", "", "API key of a user who may create machines (OCTAVO_API_KEY)")
	f.StringVar(&r.ServerAddress, "server-comms-address", "", "where this machine polls the server; the host of --server with port 10943 if left out")
	f.IntVar(&r.ServerPort, "server-comms-port", 0, "port there")
	_ = cmd.MarkFlagRequired("server") // the flag exists
}

func registerCommand(worker bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "register-with", Short: "Register this machine as a deployment target of a server, and trust that server", Args: cobra.NoArgs,
		Example: "  octavo-agent register-with --server https://octavo.example.com --apiKey API-... --environment Production --role web\n" +
			"  octavo-agent register-with --server https://octavo.example.com --comms-style TentacleActive --environment Test --role web",
	}
	if worker {
		cmd.Use, cmd.Short, cmd.Example = "register-worker", "Register this machine as a worker of a server, and trust that server", ""
	}
	data := dataFlag(cmd)
	var r agent.Registration
	serverFlags(cmd, &r)
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	f := cmd.Flags()
	f.StringVar(&r.Space, "space", "", "space, by name or id; the default space if left out")
	f.StringVar(&r.Name, "name", host, "how the server shall call this machine")
	f.StringVar(&r.Policy, "policy", "", "machine policy; the server's default if left out")
	f.StringVar(&r.Proxy, "proxy", "", "proxy through which the server dials this machine")
	f.BoolVar(&r.Force, "force", false, "replace a machine of the same name")
	f.BoolVar(&r.SkipHealthCheck, "skip-health-check", false, "do not ask for a health check at once")
	style := f.String("comms-style", string(agent.Passive), "TentaclePassive: the server dials this machine. TentacleActive: this machine polls the server")
	f.StringVarP(&r.PublicHostName, "public-hostname", "h", "", "where the server reaches this machine; its host name if left out")
	f.IntVar(&r.Port, "port", 0, "port there; the one this agent listens on if left out")
	f.Bool("help", false, "help for "+cmd.Use) // -h is Tentacle's public host name
	if worker {
		f.StringArrayVar(&r.WorkerPools, "worker-pool", nil, "worker pool; can be repeated")
		_ = cmd.MarkFlagRequired("worker-pool") // the flag exists
	} else {
		f.StringArrayVar(&r.Environments, "environment", nil, "environment; can be repeated")
		f.StringArrayVar(&r.Roles, "role", nil, "role; can be repeated")
		f.StringArrayVar(&r.Tenants, "tenant", nil, "tenant; can be repeated")
		f.StringArrayVar(&r.TenantTags, "tenanttag", nil, "tenant tag, as Set/Tag; can be repeated")
		f.StringVar(&r.Participation, "tenanted-deployment-participation", "", "Untenanted, TenantedOrUntenanted or Tenanted")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		if r.Style = agent.CommunicationStyle(*style); r.Style == agent.Passive && r.PublicHostName == "" {
			r.PublicHostName = host
		}
		keyFromEnvironment(&r)
		id, err := agent.LoadIdentity(dir)
		if err != nil {
			return err
		}
		done, err := agent.Register(cmd.Context(), dir, id, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Registered as %s (%s) in space %s. The server %s is trusted.\n", r.Name, done.MachineID, done.Space, done.Thumbprint)
		return nil
	}
	return cmd
}

func keyFromEnvironment(r *agent.Registration) {
	if r.APIKey == "" {
		r.APIKey = os.Getenv("OCTAVO_API_KEY")
	}
}

func pollServerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "poll-server", Short: "Poll one more node of a server this agent polls already", Args: cobra.NoArgs}
	data := dataFlag(cmd)
	var r agent.Registration
	serverFlags(cmd, &r)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		keyFromEnvironment(&r)
		added, err := agent.AddServer(cmd.Context(), dir, r)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Polling %s as %s.\n", added.Address, added.SubscriptionId)
		return nil
	}
	return cmd
}

func newCertificateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "new-certificate", Short: "Make this agent a new certificate; servers must then trust it anew", Args: cobra.NoArgs}
	data := dataFlag(cmd)
	ifBlank := cmd.Flags().BoolP("if-blank", "b", false, "only if there is none yet")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		get := agent.NewIdentity
		if *ifBlank {
			get = agent.LoadIdentity
		}
		id, err := get(dir)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), id.Thumbprint)
		}
		return err
	}
	return cmd
}

func showThumbprintCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show-thumbprint", Short: "Print the thumbprint of this agent's certificate", Args: cobra.NoArgs}
	data := dataFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := absolute(*data)
		if err != nil {
			return err
		}
		id, err := agent.LoadIdentity(dir)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), id.Thumbprint)
		}
		return err
	}
	return cmd
}

// superviseCommand is started by the agent for each script.
func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "supervise DIRECTORY", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return agent.Supervise(args[0]) },
	}
}
