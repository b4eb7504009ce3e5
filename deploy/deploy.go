// Package deploy holds what a server hands out to new machines; everything else in this folder is for operators.
package deploy

import _ "embed"

// AgentInstaller is GET /agent/install.sh.
//
//go:embed agent/install.sh
var AgentInstaller string

// AgentUnit is GET /agent/octavo-agent.service.
//
//go:embed systemd/octavo-agent.service
var AgentUnit string
