// Package world has only tests: whole clusters in a testing/synctest bubble, where a minute takes a moment.
//
// Everything is the real code: nodes, queue, leases, engine, hub, REST handlers, Halibut with TLS, SQLite or a real
// PostgreSQL. Only what is outside is made here, at its protocol: agents whose scripts count (agent_test.go), the network
// between them (network_test.go), and each node's wire to the database (internal/db/dbtest).
//
//	story_test.go     read this to learn what a cluster does
//	verbs_test.go     the verbs of stories
//	weather_test.go   clients and faults that follow from a seed
//	check_test.go     what must be true at every moment, and at the end
//	world_test.go     a world: boot, kill and stop nodes
//
// # Seeds
//
// A seed decides what clients ask for, which faults strike whom and for how long. The bubble fixes time; it does not fix which
// of two goroutines that wake at one instant goes first, nor the jitter of loops, so a seed that failed once may need
// some repetitions: go test ./test/world -run TestSeeds -seed 7 -count 20. OCTAVO_WORLD_LOG=1 shows what the nodes log.
// Two limits follow from the bubble: a goroutine that waits for a mutex holds the time still, so nobody may hold one over a
// transaction; and nobody may listen for hints on PostgreSQL, so nodes poll.
//
// # What is checked
//
//	I1a  each commit that names a fence, in the order of commits: none under a fence that was lost, none below one before
//	I1b  the agents: no ticket, and no step of a task on a target, ever begins twice
//	I1c  the agents: no script of a task beside a later step's; none beside another task's of the same turn
//	I2   an end is never changed; what was acknowledged is there; nothing fails or is canceled by weather alone
//	I3   a turn always has a holder; what was pushed first, of the same turn, begins first
//	I4   a trigger at each claim: not above the cap
//	I5   a trigger at each claim: not by a node that drains, or is dead
//	I6   each due time's duty ran once; terms that wrote only rise
//	I7   entries have no gaps; each script's lines are there once, in order, all of them after a success
//	I8   a cancel's flag is never taken back; nothing of the task begins later than it should
//	I13  once the weather is fine, all tasks end, and no script runs on
//
// # Power
//
// Defects that were planted by hand, one at a time. Caught by twelve seeds on SQLite, with what saw them:
//
//	the fence passes although it has no row              I1a
//	a draining node claims                               I5, the trigger
//	a claim forgets what the node runs                   I4, the trigger
//	the end of a task promotes nobody                    I3: a turn without a holder; I13
//	a released task gives its turn up                    I3, I13
//	the reaper passes over what is to be cancelled       I13
//	a release forgets the cancel                         I8, the trigger
//	the owner is not told of a cancel                    I8
//	a duty does not look whether it is due               I6
//	the log's cursor is not stored                       I7
//	log numbers begin anew                               nothing ends any more
//	trouble of the database counts as a failed step      I2
//	a running step is not taken up by the next owner     I13
//	promote takes the newest                             I3
//
// Caught by fifty seeds, not by twelve:
//
//	a claim does not compare epoch and state             I5, the trigger
//	a leader's write does not compare the term           I6
//	a script not known to have started gets a new ticket I1b
//
// Not caught by twelve, nor the two about agents by fifty, since another line of defence holds or the moment is too rare. Tests
// of internal/cluster and internal/engine look at these:
//
//	Stop releases nothing                                handlers give their tasks back themselves; orphans are found
//	the reaper does not compare the counter              a false alarm more, which fences make harmless
//	an end is written without its fence                  only a run that ends while it is fenced could show it
//	agents are not told of an adoption                   tickets are the same, so a late start starts nothing
//	an adopted script is completed on a Tentacle at once its start would have to be under way for longer than it runs
//	a claim takes the newest turn first                  the order across turns is not checked here
package world
