// Package engine carries tasks out: deployments, health checks, retention, and the check of the built-in repository.
//
// # Walking a plan
//
// A deployment is a plan and rows. deployment.Plan.Next looks at both and says what to do; this package stores that
// and does it, and stores how it ended; then it asks again. It keeps nothing that it could not read back, so a
// deployment that was interrupted anywhere goes on by the same code on whichever node claims the task:
//
//	claimed -> read plan (or make and store it) -> Next -> store moves -> act -> store the end -> Next -> ...
//
//	what died in between                    what the next owner finds and does
//	before the plan was stored              no plan: makes it
//	after a move was stored                 a row "running" without a script: begins the action
//	after a script was stored, not sent     state planned: sends it
//	while it was sent, or ran               state planned or started: sends it again; the agent starts a ticket once
//	after it ended                          state ended: takes its result; tells the agent to forget it
//	a script that ran on the dead server    the row becomes Interrupted: Next asks a person, or repeats what is declared safe
//	a question was stored, not answered     the task waits, or walks on beside it
//	an answer was stored, not taken         takes it: the row gets it once
//
// # Questions
//
// What only a person can decide is an interruption (control). It is stored with the row it is about, and its answer is
// taken into that row, so that an answer is acted on once, whoever owns the task by then:
//
//	Next: Ask -> "ask": row, question, log line, the task's flags -> other lanes go on; nothing else runs: Waiting, no slot
//	person:      "submit": answer, flags, cluster.Resume          -> the task is claimed again; a walker that still runs is hinted at
//	walker:      "hear": rows get answers, a manual step its output variables -> Next
//
// A cancel withdraws what is asked ("withdraw"); so does any other end of the task (control.TaskEnded).
//
// # Locks
//
// An attempt that needs a target, or a lock by name, queues up in run_lock, and holds it when no earlier row conflicts. A row
// stays until the attempt's end is stored, so a task whose node died keeps its locks until another node goes on with it. If
// all that runs of a task waits for such a task it is Waiting, without a slot, until an unlock gives it a lock (lock.go).
//
// # Scripts
//
//	script_run.state   planned --sent--> started --status Complete, all stored--> ended --CompleteScript--> completed
//
// One status answer is stored in one transaction: log lines, the agent's cursor, output variables, masks, and the
// state of the message parser. Every transaction begins with the task's fence, so a former owner writes nothing.
// The completion of a script that another owner sent to an unmodified Tentacle waits two minutes, because such an
// agent forgets completed tickets and would start a late copy again (architecture, "Adoption").
//
// # What runs without being asked for
//
// The leader's duties (schedule.go) only push tasks, in a transaction that holds the leader's term; any node runs them. Jobs
// (sweep.go) run on every node. ARCHITECTURE.md lists them all.
//
//	Health       asks machines how they are; leaves out those that another task holds; deletes those that are gone for long
//	Retention    lists what goes and why, then deletes it: releases, packages, old tasks. A row goes with all that belongs to
//	             it in one transaction, and its blobs are noted (dropped_blob); they follow a day later (forget.go)
//	Synchronize- makes the index of the built-in repository anew, reads every content back, and tells what is missing or
//	BuiltIn...   damaged. It keeps its place (repository_check), and never deletes anything
//
// # Points of death
//
// Every transaction and every call to an agent is surrounded by crashpoint.Reach; test/cluster kills and stops the
// server at each of them.
package engine
