//go:build unix

// Package agent is the agent's side: it runs scripts for servers, keeps their output, and outlives everybody.
//
// # Who owns what
//
// A script belongs to a supervisor, a small process of the same binary (`octavo-agent supervise`, hidden), not to the agent.
// The agent can be stopped, killed or replaced while scripts run; the supervisor collects output and the exit code
// in files, and the agent only reads them. So a server that asks "how far is script X" gets a true answer from whichever
// agent process is there.
//
//	<data>/agent.json            settings: listening address, trusted servers
//	<data>/certificate.pem       key and certificate
//	<data>/agent.lock            held by the one running agent
//	<data>/settings.lock         held while agent.json is changed
//	<data>/Work/<ticket>/        the script's working directory; the script may do there what it likes
//	<data>/Spool/<ticket>/       ours; the script never learns of it
//	    run.json                 what was asked; written last, so a directory without it was never promised to anybody
//	    started                  made with O_EXCL by the supervisor right before it starts the script: at most once, whatever crashes
//	    output                   one JSON line per line of output, appended
//	    marks                    how much a server has acknowledged, how much a full disk made us drop (32 bytes, in place)
//	    alive                    FIFO held open by the supervisor; end of file tells the agent that it is gone
//	    control                  FIFO read by the supervisor; "c" cancels
//	    reserve                  some space kept back, so that the result can be written on a full disk
//	    result.json              exit code; temporary file, fsync, rename
//	<data>/Ended/<ticket>.json   tombstones of completed tickets, kept 30 days
//	<data>/Fences/<task>.json    the highest (incarnation, claim) seen for a task, kept 30 days
//	<data>/Files/                packages; other uploads with a relative path land under <data> too
//	<data>/Streams/              contents of calls while they run
//	<data>/Program/              a newer program that the server sent; program.go
//
// # States of a run
//
//	state     on disk                              next
//	waiting   run.json                             running (mutex held, supervisor made "started"), ended -43, -44
//	running   run.json, started, alive is held     ended
//	lost      run.json, started, alive is free     ended -46: nobody can know the exit code
//	ended     run.json, result.json                completed
//	completed Ended/<ticket>.json                  forgotten after 30 days
//
// Under systemd the unit needs KillMode=process, or stopping the agent ends the scripts as well.
//
// A waiting run goes on waiting after a restart of the agent; a running one is watched again and keeps its mutex.
//
// # Ending a script
//
// A script runs in a process group and, where the cgroup2 file system lets us, in a cgroup of its own. The supervisor is the
// subreaper of all it starts, so children that fork twice or call setsid still are found. Cancel sends SIGTERM to all of them,
// and SIGKILL after 10 seconds (deployments.md E13). When the script has ended but something holds its output open for 5
// seconds, everything left is killed; what does not hold it (a service started properly) is left alone and named in the log.
//
// # A full disk
//
// The supervisor first gives back the part of the output that a server has acknowledged, and says so in the log. If that does
// not help it waits a minute, with the script held back by its pipe; then the script is ended with -41. It never waits for ever.
//
// # Secrets
//
// What a script tells to mask, and what it sets as a sensitive output variable, is masked in "output" from then on. Lines with
// service messages stay whole, because the server needs their values. Scripts get our environment without our own OCTAVO_*.
//
// # Fences
//
// Start and Adopt of the fence service name the claim that speaks for a task. A lower one than the highest seen is refused; a
// higher one is on disk before anything starts under it (I1b).
package agent
