// Package cluster has only tests. They run the real octavo and octavo-agent against a real database, deploy
// through the public REST API, and meanwhile kill, stop and cut off what they started.
//
//	harness_test.go      an installation: server, agents, database; start, kill, stop, restart
//	rest_test.go         its REST API, and projects made through it
//	subject_test.go      the deployment that is done over and over, and what must be true after each
//	matrix_test.go       the server dies, or stops, at every named point of that deployment
//	agent_test.go        agents die
//	cancel_test.go       cancel at each point; failures; turns
//	process_test.go      windows, conditions, skips, outputs, masks on real agents
//	nodes_test.go        three nodes: the owner of a deployment, or the leader, is killed, stopped, drained; cancels and logs through any
//	load_test.go         each node in turn ends while others work, behind a balancer
//	links_test.go        agents and trust on three nodes; first start; new nodes for old
//	start_test.go        how the server starts and stops
//	quickstart_test.go   the newcomer's command
//
// The server is built with the tag crashpoints (internal/crashpoint). OCTAVO_TEST_LONG=1 does the full product of
// points, deeds and engines.
package cluster
