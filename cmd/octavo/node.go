package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/config"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// nodeCommand is the reference's node command (behaviour.md 2.7), and two beside it.
func nodeCommand() *cobra.Command {
	var taskCap, wait, cancelWait int
	var drain, cancelTasks bool
	var labels []string
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Drain a node, or change its task cap or labels; also while it runs, or while no node does",
		Long: `Change a node of the cluster through the database: this machine's own, or the one --node-name names.

--drain=true stops the node from starting tasks; what runs goes on. With --wait the command returns when the node has no task any more,
or ends with exit code 1 and says what still runs. With --cancel-tasks it then cancels what still runs, and waits for that
for --cancel-wait seconds. --drain=false lets the node work again.`,
		Example: `  octavo node --drain=true --wait 600 --cancel-tasks
  octavo node --node-name web-2 --task-cap 0
  octavo node list`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	settings := settingsFlags(cmd, "database", "node-name")
	flags.IntVar(&taskCap, "task-cap", 0, "how many tasks the node runs at once; 0: it serves the API only")
	flags.BoolVar(&drain, "drain", false, "true: it starts no more tasks; false: it does again")
	flags.IntVar(&wait, "wait", 0, "with --drain: how many seconds to wait for its tasks to end")
	flags.BoolVar(&cancelTasks, "cancel-tasks", false, "with --drain: cancel what still runs after --wait")
	flags.IntVar(&cancelWait, "cancel-wait", 60, "with --cancel-tasks: how many seconds to wait for canceled tasks to end")
	flags.StringSliceVar(&labels, "label", nil, `what it offers to tasks that ask for it, instead of what it did before; may be repeated; "" for nothing`)
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "taskCap" { // as the reference spells it
			name = "task-cap"
		}
		return pflag.NormalizedName(name)
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var mistakes fault.List
		for _, n := range []struct {
			name  string
			value int
		}{{"task-cap", taskCap}, {"wait", wait}, {"cancel-wait", cancelWait}} {
			if n.value < 0 {
				mistakes.Add("%s: has to be 0 or more, not %d.", n.name, n.value)
			}
		}
		for _, name := range []string{"wait", "cancel-tasks"} {
			if flags.Changed(name) && !drain {
				mistakes.Add("%s: goes with --drain=true only.", name)
			}
		}
		if flags.Changed("cancel-wait") && !cancelTasks {
			mistakes.Add("cancel-wait: goes with --cancel-tasks only.")
		}
		var change control.NodeChange
		if flags.Changed("task-cap") {
			change.TaskCap = &taskCap
		}
		if flags.Changed("drain") {
			change.Draining = &drain
		}
		if flags.Changed("label") {
			change.Labels = &labels
		}
		if change == (control.NodeChange{}) {
			mistakes.Add("Say what to change: --drain, --task-cap or --label. Or look at the nodes with: octavo node list.")
		}
		if err := mistakes.Err(); err != nil {
			return err
		}
		return withNodes(cmd, settings, func(ctx context.Context, use *control.Control, name string) error {
			node, err := use.SetNode(ctx, name, change)
			if err != nil {
				return err
			}
			say := func(text string) { fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text) }
			say(fmt.Sprintf("Node %s: %s, task cap %d, %d running.", node.Name, strings.ToLower(node.Status), node.MaxConcurrentTasks, node.RunningTaskCount))
			if wait == 0 && !cancelTasks {
				return nil
			}
			d := control.Drain{Wait: time.Duration(wait) * time.Second, Cancel: cancelTasks, CancelWait: time.Duration(cancelWait) * time.Second}
			if err := use.AwaitDrained(ctx, name, d, say); err != nil {
				return err
			}
			say("Node " + node.Name + " has no task any more.")
			return nil
		})
	}
	cmd.AddCommand(nodeListCommand(), nodeDeleteCommand())
	return cmd
}

func nodeListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the nodes of the cluster", Args: cobra.NoArgs}
	settings := settingsFlags(cmd, "database")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return withNodes(cmd, settings, func(ctx context.Context, use *control.Control, _ string) error {
			nodes, err := use.Nodes(ctx)
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tSTATUS\tRANK\tTASKS\tTASK CAP\tLAST SEEN\tVERSION\tLABELS")
			for _, n := range nodes {
				status := n.Status
				if silent := time.Since(n.LastSeen.Time); !n.IsOffline && silent > time.Minute {
					status += " (silent)" // no other node is there that would declare it dead
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", n.Name, status, n.Rank, n.RunningTaskCount, n.MaxConcurrentTasks,
					n.LastSeen.UTC().Format("2006-01-02 15:04:05Z"), n.Version, strings.Join(n.Labels, ","))
			}
			return t.Flush()
		})
	}
	return cmd
}

func nodeDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Take a stopped node off the list", Args: cobra.ExactArgs(1),
		Long: `Take a node off the list for good. Drain and stop it first: one that still runs comes back by itself within a minute,
unless it drains; then it goes for good when it stops.`,
	}
	settings := settingsFlags(cmd, "database")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withNodes(cmd, settings, func(ctx context.Context, use *control.Control, _ string) error {
			node, err := use.GetNode(ctx, args[0])
			if err != nil {
				return err
			}
			if err := use.DeleteNode(ctx, args[0]); err != nil {
				return err
			}
			switch {
			case node.IsOffline:
				fmt.Fprintf(cmd.OutOrStdout(), "Node %s is deleted.\n", node.Name)
			case node.IsInMaintenanceMode:
				fmt.Fprintf(cmd.OutOrStdout(), "Node %s still runs, so it stays on the list until it stops.\n", node.Name)
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "Node %s still runs, so it comes back by itself. To remove it drain it, stop it, then delete it.\n", node.Name)
			}
			return nil
		})
	}
	return cmd
}

// withNodes does something to the nodes of a database that is there already, whether or not one of them runs.
func withNodes(cmd *cobra.Command, settings func() (config.Server, error), do func(ctx context.Context, use *control.Control, name string) error) error {
	s, err := settings()
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.Database); err != nil && !strings.Contains(s.Database, "://") {
		return fault.Because(fault.InvalidField("database", "There is no database %s. Name the one that the server uses with --database.", s.Database), err)
	}
	d, err := db.Open(cmd.Context(), s.Database)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.CheckSchema(cmd.Context()); err != nil {
		return err
	}
	ctx := access.With(cmd.Context(), access.Actor{Username: "octavo node", Established: "command line"})
	return do(ctx, &control.Control{DB: d}, s.NodeName)
}
