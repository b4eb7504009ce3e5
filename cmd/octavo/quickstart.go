package main

import (
	"github.com/spf13/cobra"

	"github.com/octavo/octavo/internal/quickstart"
)

func quickstartCommand() *cobra.Command {
	var options quickstart.Options
	cmd := &cobra.Command{
		Use:   "quickstart",
		Short: "Start a node and two agents, and deploy a real package to two environments",
		Long: `Start a node and two agents, and deploy a real package to two environments.

With --nodes 3 it starts three nodes behind one address, on a PostgreSQL of its own if its programs are installed, else
on one SQLite file (for showing, not for production). It then deploys a script that counts to 30, and offers to
kill -9 the node that runs the deployment in the middle: another node goes on with it, and each number is there once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return quickstart.Run(cmd.Context(), options) },
	}
	cmd.Flags().StringVar(&options.Data, "data", "octavo-data", "folder of everything this makes")
	cmd.Flags().StringVar(&options.Listen, "listen", "127.0.0.1:8080", "address of the node, or of the balancer before several; the next free port is taken when it is busy")
	cmd.Flags().IntVar(&options.Nodes, "nodes", 1, "how many nodes to start")
	cmd.Flags().BoolVar(&options.SQLite, "sqlite", false, "several nodes on one SQLite file even where PostgreSQL is installed")
	cmd.Flags().BoolVar(&options.Kill, "kill", false, "kill -9 the node that runs the deployment, without asking")
	cmd.Flags().BoolVar(&options.Exit, "exit", false, "stop after the deployments; the exit code is 0, or 5 when one failed")
	return cmd
}
