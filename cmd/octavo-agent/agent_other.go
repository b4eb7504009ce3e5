//go:build !unix

package main

import "github.com/spf13/cobra"

// agentCommands are none here: on this system only the target-side tool runs, under somebody else's agent.
func agentCommands() []*cobra.Command { return nil }
