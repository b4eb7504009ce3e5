// Package deployment holds deployments and the plan each one is carried out by.
//
// # The plan
//
// [NewPlan] turns a process, the machines of an environment and a request into a [Plan]: which actions run, where,
// in which order, and what was planned away and why (deployments.md 3.9). It is made when the task first starts and
// stored before anything else happens (P4, T12); later changes of machines or process do not touch it.
//
// [Plan.Next] decides what happens next from the plan, the [Run] rows stored so far, and a few [Facts]. It is pure:
// the same rows give the same answer on any node, so resuming a deployment and running it are one code path.
//
//	load plan and rows -> Next -> store a row per move, in one transaction -> act -> store how it ended -> Next ...
//
// # Rows
//
// A row says what was decided or done at one [Place] (step, action, target):
//
//	place                     attempt  state                     means
//	step                      0        open                      its condition was true; its lanes may start (P5)
//	step                      0        skipped                   it will not run
//	step, target              0        skipped                   this target gets no lane (C4)
//	step, action[, target]    0        skipped                   this action will not run in this lane
//	step, action[, target]    1..      running, asked or an end  one attempt
//
// A move [Open] or [Skip] is stored as the row of the same place and state; [Start] as a row "running" under the
// move's attempt; [Ask] of a manual step as a row "asked"; [Ask] after a failure sets Asked on the failed row, which is
// then given its Answer. Storing a row a second time must be refused by a unique key (task, place, attempt).
//
// # States of an attempt
//
//	running ----> succeeded
//	   |--------> failed        exit code, runner, deploy-release child ...          (F1)
//	   |--------> timedout      ExecutionTimeout; the script was cancelled            (R4)
//	   |--------> unreachable   the target was given up                               (R5, T7)
//	   |--------> interrupted   it ran on a server that died; nobody knows its fate   (W7)
//	   |--------> cancelled     the task was cancelled and the script ended           (C7)
//	asked ------> succeeded     Proceed                                               (I2)
//	   |--------> aborted       Abort: a failure, and final                           (C7, I4)
//	   |--------> cancelled     the question was withdrawn                            (I14)
//
// What follows a bad end, in this order:
//
//	unreachable, and the policy skips unavailable targets   the target leaves the deployment (T7)
//	interrupted, and declared safe to repeat                Start again, at most three times in a row (W7)
//	automatic retries left (not after unreachable: R5)      Start again, not before the end + back-off
//	interrupted                                             Ask; then Fail or Retry
//	guided failure on                                       Ask; then Fail, Retry, Ignore or Exclude (I3-I9)
//	else                                                    the action has failed in its lane (F5), the step will be Failed
//
// # Lanes and groups
//
// A lane is one target's way through one step; a run-once step has one lane, without a target. Groups of steps run one
// after the other (P1). Within a group at most Cap steps, and in a step at most Window lanes, are open at once (P9, P10).
// One target runs one action at a time unless Bypass is set (P11); who has waited longest goes first.
package deployment
