// Package hub is the server's side of agents: whom we trust, how an agent is reached, and the few verbs
// the engine needs: Capabilities, Start, Status, Cancel, Complete, Upload, Download.
//
//	style             address               who dials          how a call travels
//	TentaclePassive   https://host:port/    any node           halibut.Client, pooled connections
//	TentacleActive    poll://subscription/  the agent          halibut.Polls of the node that holds the link
//
// # Trust
//
// A row of agent_trust is written by control in the transaction that saves the machine. A listening agent is
// believed when it shows the thumbprint of its row; a polling one when its thumbprint and its subscription stand
// in one row. Whoever else connects gets nothing (tentacle-protocol.md 1.3).
//
// # Services
//
// The service of a script is chosen once, by the agent's capabilities, and stored before the start, since its
// later calls must use the same: our own agent's IOctavoFenceServiceV1 (a lower claim starts nothing), else
// IScriptServiceV2. Every verb but Complete is safe to repeat, so all of them are retried within a budget
// (tentacle-protocol.md 2.7).
package hub
