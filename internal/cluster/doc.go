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
// queued, and its handler goes on from what is written. On PostgreSQL a killed process is seen by two
// witnesses: the database freed its session lock, and its port refuses, which answered before. Who holds a connection to that port
// (guarding) asks them at once, the others within a second. No clock value is compared between machines.
//
// # What it costs
//
// A push is one round trip (insert); what has ended and the next claim are one, with their commit (settleAndClaim).
// The dispatcher takes what else ends meanwhile, so that it shares the next one. A node at rest reads all that it
// watches in one transaction a second (view). Work is hinted at to one other node that seems to have a free slot (hintWork); it
// passes the hint on when its claim has filled it. Labels that are asked for are hinted at to all (hintNeeds). A hint that
// hits a full node is lost, and the next poll finds the task.
//
// # When a transaction fails
//
// What was settled and claimed together is tried again one by one, so that an end that always fails holds only its own slot (fly).
// The answer to a commit may be lost, so that nobody knows whether it was one. Ends are then tried again, under the fence. A
// claim that was committed without this node's knowledge is seen in two views, let go, and claimed anew (letGoUnbegun).
//
// # Who starts when
//
// Order: what has begun (lane 0), moved to the top (1), priority (2), regular (3); in a lane by place, which is given when the
// task is queued, or when its time has come. Order is exact within a turn, and across turns up to the claims in flight. The
// head of a turn keeps it until it ends, gives it up while it waits, or, not begun yet, one of its turn overtakes it by lane:
// so nothing passes a head by that waits for the same thing, however long it waits, and a reservation (I3) is the rule.
//
// Turn: what it stands for is the caller's matter. A task whose turn is taken holds no slot, nor does one that waits.
//
// Labels: a task with needs is claimed only by a node that has all of them. Ready tasks without needs are one index, and
// their claim one range scan, as if there were no labels. Those with needs are in a second index by their set of needs; once
// in a poll, and when a labelled task is pushed, a node looks which sets there are (a probe for each) and remembers those it
// serves; its claim merges one more range for each. The claim checks the labels in the node's own row, so SetLabels holds
// at once. A task that no node may run is in nobody's range, and delays nobody but its own turn.
//
// Stopped spaces: one row of queue_stop, which every claim reads; it counts for queued tasks only. A claim that is under way
// at that moment may still count as before it. Nodes then park the tasks that wait, in batches, out of the claims' index, and
// bring them back when the space goes on; their places stay. What has begun takes its turn from a head that has not.
//
// Balance: see balance. Superseding: see Supersede. Expiry: a queued task ends as TimedOut a day after its queue time (which
// for a scheduled one is the time it is to start), or when its push said; what has begun does not expire.
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
//	  lane, place, due         Push; MoveToTop; Supersede; the ripening of scheduled tasks; claim sets lane 0
//	  head                     Push, promote, reorder, ripening, Resume, Waiting that gives its turn up
//	  space, needs             Push             parked     park, unpark
//	  state, node, claim, incarnation   claim, settle, reap, register, Stop
//	  cancel, reason           Cancel        woken      Resume, settle
//	  log_lines, updated, warnings, interruptions      the owner, under its Fence; Answered
//	node       the node itself at register, Stop and its return; the reaper (epoch, state, gone, deleted);
//	           SetNode (cap, draining, retire), SetLabels, DeleteNode and the tidying duty (deleted)
//	queue_stop SetSpaceStopped; park (swept, done); unpark deletes it
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
