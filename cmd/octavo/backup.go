package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/octavo/octavo/internal/backup"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/storage"
	"github.com/octavo/octavo/internal/version"
)

func backupCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "backup --to FOLDER",
		Short: "Copy the whole installation, database and blobs, into a folder while nodes work",
		Long: `Copy all rows, as they are at one moment, and all packages, artifacts and logs into a new folder, and read the copies back.
If the command is interrupted, run it again: it goes on where it was.

Secrets stay encrypted. The master key is not in the backup: keep it elsewhere (octavo show-master-key). Restore with octavo restore,
on the same or the other kind of database.`,
		Example: `  octavo backup --to /backup/octavo-2026-11-21`,
		Args:    cobra.NoArgs,
	}
	settings := settingsFlags(cmd, "database", "blobs", "data", "master-key-file", "master-key")
	cmd.Flags().StringVar(&to, "to", "", "a new or empty folder, or one with an interrupted backup")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if to == "" {
			return fault.InvalidField("to", "Say with --to into which folder.")
		}
		return withStorage(cmd, settings, func(ctx context.Context, m storage.Mover) error {
			blobs, err := storage.Open(ctx, m.Config, false)
			if err != nil {
				return err
			}
			defer blobs.Close()
			c, err := backup.Backup{DB: m.DB, Blobs: blobs, Cluster: m.Cluster, Version: version.String(), To: to, Say: m.Say}.Run(ctx)
			if err != nil {
				return err
			}
			m.Say(fmt.Sprintf("%d blobs are copied, %.1f MiB. The backup in %s is complete.", c.Blobs, float64(c.Bytes)/(1<<20), to))
			if n := len(c.Missing); n > 0 {
				m.Say(fmt.Sprintf("Warning: %d blobs that the database names are not in the store, such as %s. They are listed in backup.json.", n, c.Missing[0]))
			}
			m.Say("The master key is not in it. Keep it elsewhere: octavo show-master-key")
			return nil
		})
	}
	return cmd
}

func restoreCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "restore --from FOLDER",
		Short: "Make an installation out of a backup, in an empty database of either kind",
		Long: `Bring a backup's content into an empty blob store and its rows into an empty database, SQLite or PostgreSQL, and read both back.
So an installation of one node on SQLite becomes one of several on PostgreSQL. If the command is interrupted, run it again.

Start the nodes with the master key of the installation that was backed up. Stop that installation first, and for good: agents that have seen
the restored one refuse it.`,
		Example: `  octavo restore --from /backup/octavo-2026-11-21 --database postgres://octavo@db/octavo --blobs /mnt/octavo`,
		Args:    cobra.NoArgs,
	}
	settings := settingsFlags(cmd, "database", "blobs", "data")
	cmd.Flags().StringVar(&from, "from", "", "the folder of the backup")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := settings()
		if err != nil {
			return err
		}
		if from == "" {
			return fault.InvalidField("from", "Say with --from which folder the backup is in.")
		}
		ctx := cmd.Context()
		if _, err := backup.Read(from); err != nil { // before anything is made
			return err
		}
		if file := strings.TrimPrefix(s.Database, "sqlite:"); !strings.Contains(file, "://") && filepath.Dir(file) == filepath.Clean(s.Data) {
			if err := os.MkdirAll(s.Data, 0o700); err != nil {
				return fault.Because(fault.InvalidField("data", "The folder %s cannot be made. Make it, or set another with --data.", s.Data), err)
			}
		}
		d, err := db.Open(ctx, s.Database)
		if err != nil {
			return err
		}
		defer d.Close()
		if err := d.Migrate(ctx); err != nil {
			return err
		}
		blobs, err := backup.OpenTarget(ctx, s.Blobs, spool(s))
		if err != nil {
			return err
		}
		defer blobs.Close()
		say := func(text string) { fmt.Fprintln(cmd.OutOrStdout(), text) }
		c, err := backup.Restore{DB: d, Blobs: blobs, From: from, Say: say}.Run(ctx)
		if err != nil {
			return err
		}
		say("Restored as of " + c.Created.Format("2006-01-02 15:04:05 UTC") + ". Start the nodes with the master key that the installation had.")
		return nil
	}
	return cmd
}
