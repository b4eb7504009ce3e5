package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/pires/go-proxyproto"
	"github.com/spf13/cobra"

	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/config"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/storage"
	"github.com/octavo/octavo/internal/systemd"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a node of the server",
		Long: `Run a node of the server until SIGTERM or Ctrl-C. Each flag is also an environment variable (in brackets) and a
key of the YAML file that --config names; flags win over the environment, the environment over the file.`,
		Args: cobra.NoArgs,
	}
	settings := settingsFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := settings()
		if err != nil {
			return err
		}
		return serve(cmd.Context(), s, newLogger(s))
	}
	return cmd
}

// open opens the database at its newest schema, and the ring of master keys.
func open(ctx context.Context, s config.Server) (*db.DB, *secret.Ring, error) {
	// The node's own folder is ours to make; any other place has to be there, so that a slip of the pen is no empty database.
	if filepath.Dir(s.Database) == filepath.Clean(s.Data) {
		if err := os.MkdirAll(s.Data, 0o700); err != nil {
			return nil, nil, fault.Because(fault.InvalidField("data", "The folder %s cannot be made. Make it, or set another with --data.", s.Data), err)
		}
	}
	d, err := db.Open(ctx, s.Database)
	if err != nil {
		return nil, nil, err
	}
	if err := d.Migrate(ctx); err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	ring, err := secret.Start(ctx, d, secret.Source{Text: s.MasterKey, File: s.MasterKeyFile})
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	return d, ring, nil
}

// requestGrace is how long requests under way may go on after the node has stopped.
const requestGrace = 5 * time.Second

// serve is one node from its start to its end.
func serve(ctx context.Context, s config.Server, log *slog.Logger) error {
	d, ring, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer d.Close()
	identity, err := hub.Identity(ctx, d, ring)
	if err != nil {
		return err
	}
	blobs, err := openBlobs(ctx, d, s, served(identity).InstallationID, log)
	if err != nil {
		return err
	}
	defer blobs.Close()
	var registered atomic.Pointer[cluster.Node] // agents connect before the node is registered
	agents := hub.New(hub.Config{DB: d, Identity: identity, Ring: ring, Blobs: blobs, Streams: filepath.Join(s.Data, "streams"), Node: s.NodeName, Log: log, Epoch: func() int64 {
		if n := registered.Load(); n != nil {
			return n.Epoch()
		}
		return 0
	}})
	packages := feed.Repository{DB: d, Blobs: blobs}
	use := &control.Control{DB: d, Ring: ring, Hub: agents, Packages: packages, Node: s.NodeName, Served: served(identity), Tools: s.Tools}
	if err := use.Bootstrap(ctx); err != nil {
		return err
	}
	logs := tasklog.Reader{DB: d, Blobs: blobs}
	handler, err := api.New(use, logs, log)
	if err != nil {
		return err
	}

	proxies, err := s.Proxies()
	if err != nil {
		return err
	}
	web, err := listen("listen", s.Listen, s.ProxyProtocol, proxies)
	if err != nil {
		return err
	}
	defer web.Close()
	comms, err := listen("comms-listen", s.CommsListen, s.ProxyProtocol, proxies)
	if err != nil {
		return err
	}
	defer comms.Close()

	self, err := os.Executable()
	if err != nil {
		return err
	}
	carry := &engine.Engine{
		DB: d, Blobs: blobs, Hub: agents, Ring: ring, Packages: packages, Log: log, Node: s.NodeName, Work: filepath.Join(s.Data, "server"),
		Tools: s.Tools, PublicURL: s.PublicURL, Supervise: []string{self, "supervise"},
	}

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var loops sync.WaitGroup
	failed := make(chan error, 2)
	loops.Go(func() { failed <- agents.Serve(background, comms) })
	loops.Go(func() { carry.Sweep(background) })
	loops.Go(func() { blobs.Watch(background) })
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: s.NodeName, DataDir: s.Data, Cap: s.TaskCap, Labels: s.Labels, Version: api.Version, Address: reachedAt(web.Addr()), Handlers: carry.Handlers(), OnEnd: use.TaskEnded, Ready: blobs.Ready, StopGrace: s.StopGrace, Log: log,
		Duties: duties(carry, blobs, packages, agents),
	})
	if err != nil {
		stop()
		loops.Wait()
		return err
	}
	registered.Store(node)
	server := &http.Server{Handler: api.Behind(proxies, handler), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	server.RegisterOnShutdown(handler.Stop)
	loops.Go(func() {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
	systemd.Ready(log)
	loops.Go(func() {
		systemd.Watch(background, log, func(asked context.Context) error { return answers(asked, web.Addr()) })
	})
	log.Info("node is up", "node", s.NodeName, "address", "http://"+web.Addr().String(), "agents", comms.Addr().String(), "thumbprint", identity.Thumbprint)

	select {
	case <-ctx.Done():
		log.Info("stopping: what runs is handed over; once more ends at once")
		err = nil
	case err = <-failed:
	}
	systemd.Stopping(log)
	use.StopSoon() // load balancers see it from here on, until the listener closes
	// A second signal ends the process; everything is safe in the database.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.StopGrace+5*time.Second)
	defer cancel()
	err = errors.Join(err, node.Stop(grace))
	polite, cancelPolite := context.WithTimeout(context.WithoutCancel(ctx), requestGrace)
	defer cancelPolite()
	if server.Shutdown(polite) != nil {
		err = errors.Join(err, server.Close())
	}
	stop()
	loops.Wait()
	agents.Close()
	return err
}

// answers asks this node's own HTTP server whether it lives, as a balancer would.
func answers(ctx context.Context, at net.Addr) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/livez", nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r) // no proxy, whatever the environment says
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("/livez says %s", answer.Status)
	}
	return errors.Join(err, answer.Body.Close())
}

// openBlobs opens the store. A folder is made by a new installation for itself. A folder that was there and is gone is a
// share that is not mounted, so it is never made again.
func openBlobs(ctx context.Context, d *db.DB, s config.Server, installation string, log *slog.Logger) (*storage.Live, error) {
	fresh, err := control.Fresh(ctx, d)
	if err != nil {
		return nil, err
	}
	if fresh && !blob.IsS3(s.Blobs) {
		if err := os.MkdirAll(s.Blobs, 0o700); err != nil {
			return nil, fault.Because(fault.InvalidField("blobs", "The blob folder %s cannot be made. Make it, or set another folder with --blobs.", s.Blobs), err)
		}
	}
	return storage.Open(ctx, storage.Config{DB: d, Own: s.Blobs, Spool: spool(s), Node: s.NodeName, Cluster: installation, Log: log}, fresh)
}

// spool is where content waits on its way to a bucket.
func spool(s config.Server) string { return filepath.Join(s.Data, "spool") }

// headerPatience is how long a trusted proxy may take for the line that says who its client is.
const headerPatience = 5 * time.Second

// listen opens an address. With the PROXY protocol, connections of trusted proxies are those of the clients they name.
func listen(setting, address string, proxyProtocol bool, proxies []netip.Prefix) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.Because(fault.InvalidField(setting, "Cannot listen on %s: %v. Stop what uses it, or set another address with --%s.", address, errors.Unwrap(err), setting), err)
	}
	if !proxyProtocol {
		return listener, nil
	}
	return &proxyproto.Listener{
		Listener: listener, ReadHeaderTimeout: headerPatience, ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			if tcp, ok := o.Upstream.(*net.TCPAddr); ok && slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(tcp.AddrPort().Addr().Unmap()) }) {
				return proxyproto.USE, nil
			}
			return proxyproto.SKIP, nil // the header of somebody else is no header
		},
	}, nil
}

// reachedAt is where other nodes find this one: what it listens on, or, when that is every address, one of the machine that
// is not its own loopback.
func reachedAt(listening net.Addr) string {
	tcp, ok := listening.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return listening.String()
	}
	host := "127.0.0.1"
	if all, err := net.InterfaceAddrs(); err == nil {
		for _, one := range all {
			if n, ok := one.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				host = n.IP.String()
				break
			}
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// served is what this installation says of itself; its id follows from its certificate, so every node says the same.
func served(identity *halibut.Identity) control.Served {
	block, _ := pem.Decode(identity.CertificatePEM())
	return control.Served{
		InstallationID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(identity.SHA256)).String(),
		Thumbprint:     identity.Thumbprint,
		Certificate:    base64.StdEncoding.EncodeToString(block.Bytes),
	}
}

func adminCommand() *cobra.Command {
	var username, password, key string
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Make an administrator, or give one a new password or key; also while a server runs",
		Args:  cobra.NoArgs,
	}
	settings := settingsFlags(cmd, "database", "master-key-file", "master-key")
	cmd.Flags().StringVar(&username, "username", "admin", "name of the administrator")
	cmd.Flags().StringVar(&password, "password", "", "password to set")
	cmd.Flags().StringVar(&key, "api-key", "", "API key to give: API- and capital letters or digits (OCTAVO_API_KEY)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := settings()
		if err != nil {
			return err
		}
		d, ring, err := open(cmd.Context(), s)
		if err != nil {
			return err
		}
		defer d.Close()
		use := &control.Control{DB: d, Ring: ring}
		if err := use.Bootstrap(cmd.Context()); err != nil {
			return err
		}
		if key == "" {
			key = os.Getenv("OCTAVO_API_KEY")
		}
		id, err := use.Admin(cmd.Context(), username, password, key)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%s (%s) is an administrator.\n", username, id)
		}
		return err
	}
	return cmd
}

func showMasterKeyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "show-master-key", Short: "Print the master key; keep it where the database's backups are not", Args: cobra.NoArgs}
	settings := settingsFlags(cmd, "database", "master-key-file", "master-key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := settings()
		if err != nil {
			return err
		}
		d, ring, err := open(cmd.Context(), s)
		if err != nil {
			return err
		}
		defer d.Close()
		fmt.Fprint(cmd.OutOrStdout(), ring.Reveal())
		return nil
	}
	return cmd
}

// toolCommand is what octavo-agent has under the same name: scripts that run on the server use this binary.
func toolCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tool COMMAND", Hidden: true, DisableFlagParsing: true,
		Run: func(cmd *cobra.Command, args []string) {
			os.Exit(convention.Main(cmd.Context(), args, os.Stdout, os.Stderr))
		},
	}
}

func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "supervise PROGRAM", Hidden: true, DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) { os.Exit(engine.Supervise(os.Stdin, args)) },
	}
}
