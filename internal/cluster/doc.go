// Package cluster holds what makes many processes one server: nodes, leases, and the task queue.
//
// # The story
//
// A task is a kind, a reference to what it is about, and a turn; cluster knows no deployment. Push
// writes it in the caller's transaction: a row of task (wide, history) and a row of queue (narrow, live
// tasks only). Of all tasks with the same turn one is the head; the flag is set at push and when the
// head before it ends, and a unique index guards it. So a claim is one range scan over ready heads.
//
// A node registers under its name and gets an epoch. It beats every two seconds; it claims for itself
// only, in a statement that also checks its own row (epoch, drain, cap). Each claim raises the task's
// pair (incarnation, claim), the Fence. Every write of a run begins with Fence.Hold or Fence.Lines in
// the same transaction: no row means that somebody else owns the task now, so stop and say nothing.
//
// A node that could not beat for 9 s stops all its runs and comes back under a new epoch. Any node that
// sees another's counter stand still for 15 s raises that node's epoch and releases its tasks, in one
// compare-and-set. Released is not failed: the task keeps turn and place, is claimed before anything
// queued, and its handler goes on from what is written. On PostgreSQL a killed process is seen within a
// second by two witnesses: the database freed its session lock, and its port refuses. No clock value is compared between machines.
//
// # Lists
//
// Ended tasks stay, so there may be millions. What a page needs of them beside its own rows is how many there are of each
// state: task_tally knows (triggers keep it), by space, project, environment and kind. Filters it does not know, such as
// a text or a time, count.
//
// # Task states (queue.state until the end, then task.state)
//
//	           push
//	            |
//	         queued ---- expires ----------> TimedOut
//	            |  \---- Cancel -----------> Canceled
//	          claim
//	            v        Ended
//	  +----> running -----------------------> Success | Failed | Canceled | TimedOut
//	  |       |    \
//	claim     |     Waiting (no slot; its turn only if it must block others)
//	  |       |       \
//	  |   Released,    waiting
//	  |   node dead      |
//	  |       v          | Resume, Cancel
//	  +--- released <----+
//
// On the wire queued reads Queued; running, released and waiting read Executing, or Cancelling once the
// cancel flag is set. A cancel of a task that has begun always goes through its handler, which ends the
// scripts first; a released task that is to be cancelled may be claimed above the cap, to end it only.
//
// # Node states (node.state)
//
//	(none) --register--> up --Stop--> stopped --register--> up (epoch + 1)
//	                     |
//	                     +--counter stood still 15 s--> dead --register--> up (epoch + 1)
//	                     +--restart: same machine id and data directory--> up (epoch + 1)
//
// DeleteNode only sets node.deleted: nobody sees the row, which keeps epochs rising. A node that is up clears the mark
// again; if it drains it sets node.retire, and is marked for good when it stops or dies. The duty that tidies marks nodes
// that stopped a week ago or died a month ago, so that names of machines that come and go do not pile up.
//
// # Who writes which column
//
//	task       Push writes the row; the end (finish, Cancel of a queued one, expiry) sets state, node,
//	           started, ended, error, warnings, log_lines; SetState corrects an end by hand
//	queue      Push inserts, ends delete.
//	  lane, place, due         Push; MoveToTop; the ripening of scheduled tasks; claim sets lane 0
//	  head                     Push, promote, ripening, Resume, Waiting that gives its turn up
//	  state, node, claim, incarnation   claim, settle, reap, register, Stop
//	  cancel                   Cancel        woken      Resume, settle
//	  log_lines, updated, warnings, interruptions      the owner, under its Fence; Answered
//	node       the node itself at register, Stop and its return; the reaper (epoch, state, gone, deleted);
//	           SetNode (cap, draining, retire), SetLabels, DeleteNode and the tidying duty (deleted)
//	node_beat  the node itself; the reaper (epoch)
//	lease      whoever takes, renews or gives up leadership
//	duty, duty_run   the leader, under its term; TriggerDuty (next), PauseDuty (paused)
//
// # Locks
//
// Whatever moves a turn from one task to another first takes the turn's lock (lockTurn), then reads.
// Rows of queue come after it, then the row of task. Registering and
// reaping take node, node_beat, queue.
package cluster
