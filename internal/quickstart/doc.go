// Package quickstart shows a newcomer the whole of Octavo in one command: a node, two agents, a package, a
// project, a release and two deployments, all real.
//
// It is a client like any other: it speaks the public REST API and runs the octavo and octavo-agent commands.
// It imports nothing of the server; a test holds it to that.
package quickstart
