package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/octavo/octavo/internal/backup"
	"github.com/octavo/octavo/internal/config"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/storage"
)

// pathCommand is the reference's path command (behaviour.md 79-82).
func pathCommand() *cobra.Command {
	var shared string
	cmd := &cobra.Command{
		Use:   "path",
		Short: "Show where packages, artifacts and logs are, or write down where all nodes find them",
		Long: `Without a flag: show where each kind of content is.

--clusterShared LOCATION writes into the database that everything is at LOCATION, a folder that all nodes share or
s3://bucket/prefix?endpoint=...; it wins over every node's --blobs. All nodes have to be stopped, and the content has to be there
already (copied with rsync or the like), or there is none yet. To copy it while nodes run, use: octavo migrate-storage`,
		Example: `  octavo path
  octavo path --clusterShared /mnt/octavo`,
		Args: cobra.NoArgs,
	}
	settings := settingsFlags(cmd, "database", "blobs", "data", "master-key-file", "master-key")
	cmd.Flags().StringVar(&shared, "clusterShared", "", "where everything is, for all nodes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withStorage(cmd, settings, func(ctx context.Context, m storage.Mover) error {
			if cmd.Flags().Changed("clusterShared") {
				to, err := location("clusterShared", shared)
				if err != nil {
					return err
				}
				if err := m.Put(ctx, to); err != nil {
					return err
				}
			}
			return showPlaces(ctx, cmd, m)
		})
	}
	return cmd
}

// showPlaces lists the kinds of content.
func showPlaces(ctx context.Context, cmd *cobra.Command, m storage.Mover) error {
	var all storage.Places
	err := m.DB.Read(ctx, func(tx *db.Tx) (err error) {
		all, err = storage.ReadPlaces(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CONTENT\tKEYS\tLOCATION\tSET IN")
	for _, k := range storage.Kinds {
		at, own := all.Of[k.Name]
		if !own {
			at = all.Of[""]
		}
		where, set := at.Location, "the database"
		if where == "" {
			where, set = m.Own, "each node's --blobs"
		}
		if at.Other != nil {
			other := *at.Other
			if other == "" {
				other = m.Own
			}
			where += " (moving; also " + other + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", k.Name, k.Prefix, where, set)
	}
	return t.Flush()
}

// migrateStorageCommand moves a live store (behaviour.md 94).
func migrateStorageCommand() *cobra.Command {
	var to, kind string
	cmd := &cobra.Command{
		Use:   "migrate-storage --to LOCATION",
		Short: "Move packages, artifacts and logs to another folder or bucket while nodes run",
		Long: `Copy the content of a blob store to another folder or bucket, read every copy back, and let all nodes go over to it while they work.
The old store stays as it is. If the command is interrupted, run it again: it goes on where it was.`,
		Example: `  octavo migrate-storage --to 's3://octavo?endpoint=https://s3.example.com'
  octavo migrate-storage --kind Packages --to /mnt/packages`,
		Args: cobra.NoArgs,
	}
	settings := settingsFlags(cmd, "database", "blobs", "data", "master-key-file", "master-key")
	cmd.Flags().StringVar(&to, "to", "", "the new place: a folder that exists and that all nodes see under this path, or s3://...")
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind: TaskLogs, Artifacts, Packages, Imports, EventExports or Telemetry; without it, all that has no place of its own")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		where, err := location("to", to)
		if err != nil {
			return err
		}
		return withStorage(cmd, settings, func(ctx context.Context, m storage.Mover) error { return m.Move(ctx, kind, where) })
	}
	return cmd
}

func location(flag, text string) (string, error) {
	if text == "" {
		return "", fault.InvalidField(flag, "Say where with --%s: a folder, or s3://bucket/prefix?endpoint=https://host:port.", flag)
	}
	return storage.Absolute(text)
}

// existing opens a database that is there already.
func existing(ctx context.Context, s config.Server) (*db.DB, error) {
	if _, err := os.Stat(strings.TrimPrefix(s.Database, "sqlite:")); err != nil && !strings.Contains(s.Database, "://") {
		return nil, fault.Because(fault.InvalidField("database", "There is no database %s. Name the one that the server uses with --database.", s.Database), err)
	}
	return db.Open(ctx, s.Database)
}

// withStorage does something to where blobs are.
func withStorage(cmd *cobra.Command, settings func() (config.Server, error), do func(context.Context, storage.Mover) error) (err error) {
	s, err := settings()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	d, err := existing(ctx, s)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := backup.CheckSchema(ctx, d); err != nil { // nodes of another version may be at work
		return err
	}
	ring, err := secret.Start(ctx, d, secret.Source{Text: s.MasterKey, File: s.MasterKeyFile})
	if err != nil {
		return err
	}
	identity, err := hub.Identity(ctx, d, ring)
	if err != nil {
		return err
	}
	own, err := storage.Absolute(s.Blobs)
	if err != nil {
		return err
	}
	return do(ctx, storage.Mover{
		Config: storage.Config{DB: d, Own: own, Spool: spool(s), Cluster: served(identity).InstallationID},
		Say:    func(text string) { fmt.Fprintln(cmd.OutOrStdout(), text) },
	})
}
