// Package hub is the server's side of agents: whom we trust, how an agent is reached, and the few verbs
// the engine needs: Capabilities, Start, Status, Cancel, Complete, Upload, Download.
//
//	style             address               who dials          how a call travels
//	TentaclePassive   https://host:port/    any node           halibut.Client, pooled connections
//	TentacleActive    poll://subscription/  the agent          halibut.Polls of the node that holds the link,
//	                                                           from other nodes as a row of call
//
// # Trust
//
// A row of agent_trust is written by control in the transaction that saves the machine. A listening agent is
// believed when it shows the thumbprint of its row; a polling one when its thumbprint and its subscription stand
// in one row. Whoever else connects gets nothing (tentacle-protocol.md 1.3). Every node reads trust at a hint, or
// within 5 s, and cuts the links that are not trusted any more; who is not known is looked up before it is sent away.
//
// # Services
//
// The service of a script is chosen once, by the agent's capabilities, and stored before the start, since its
// later calls must use the same: our own agent's IOctavoFenceServiceV1 (a lower claim starts nothing), else
// IScriptServiceV2. Every verb but Complete is safe to repeat, so all of them are retried within a budget
// (tentacle-protocol.md 2.7).
//
// # Calls from any node
//
// A polling agent needs a link to one node only (behaviour.md rows 59-61, 65). Each node notes the links it holds in
// the table link; the highest number of an agent is its newest link. A link counts while its node is up under the
// row's epoch. A call goes over a link of the caller's own node if there is one; such calls need no database. Else it
// is a row of call: the node with the newest link takes it, carries it out, and writes the answer into the row.
//
//	caller's node                      database                 node that holds the link
//	insert, hint to the holder  ---->  waiting
//	                                   waiting -> taken  <----  take: caller lives, fence holds, my link is the newest
//	                                                            the agent is called
//	                                   taken -> answered <----  answer, hint to the caller
//	read, delete                <----  answered
//
// Hints only hurry: a caller looks by itself every 1-2 s, and hints at the holder of that moment again while its call waits; a
// holder looks every 5 s, when it reads trust. Every write
// but the recording of a node's own links is a transaction of one row, so calls cannot lock each other out.
//
// The states of a call:
//
//	 insert
//	   v      take                    answer
//	waiting ---------> taken ------------------------> answered --+
//	 |  |  ^            |  | \---- the link broke ---> broken ----+--- read by the caller ---> (deleted)
//	 |  |  +-- no link -+  |  \--- not collected ----> unsent ----+
//	 |  |                  |                                      |
//	 |  +- fence is lost --|--------------------------> refused --+
//	 |                     |
//	 |                     +-- given_up: the holder closes the link ---> (deleted) by the holder
//	 |                     +-- the holder's epoch is over -------------> (deleted) by the caller
//	 +-- the caller gives up, or its time to collect is over ----------> (deleted) by the caller
//
// What the caller learns from it:
//
//	answered                                             the answer, which may be a failure that the agent reports
//	unsent; deleted while waiting                        ConnectError: nothing ran
//	broken; given_up; deleted since the holder is dead   TransferError: whether it ran is unknown
//	refused                                              ErrNotOwner: nothing ran
//
//	column                                       who writes it
//	all, at first; given_up                      the caller's node
//	the deletion                                 the caller's node; the holder, of a row that is given up; the sweep
//	state, taker, taker_epoch when it is taken   the holder, if its node row says that it is up under its epoch
//	state, answer, error afterwards              the same node under the same epoch, unless given_up
//	link.*                                       the node of the row, never under a lower epoch than the row's
//
// A caller's fence comes with its context (WithFence). hub reads the tables node and queue, which are cluster's, and
// writes neither.
//
// # What a row holds
//
// Request and answer are halibut's own documents, with small data streams beside them, sealed with the master key for
// this row and column. What would make a row large (a document over 512 KiB, streams beyond 768 KiB together) is a part
// in the blob store, calls/ID-COLUMN-PART, sealed in pieces of 256 KiB (seal.go). The caller deletes the parts of a
// request, whoever reads or drops an answer those of the answer.
//
// # When something dies
//
//	the agent, or its link       the link's end is seen at once, or when the agent appears elsewhere: then older links
//	                             have to answer a null message within 10 s (halibut.Polls.Doubt)
//	the node that holds it       its links do not count any more; callers of calls it took learn it at their next look
//	the caller's node            its calls are not taken any more; those under way are ended by closing the link
//	the caller's registration    it withdraws its calls and tries again under the new epoch
//	the database                 links live on, since null messages are timed here, and calls over a node's own links
//	                             go on; answers wait for it; links are recorded afterwards
//	a hint                       the next look finds it
//	the answer to a commit       a caller then says that nobody knows whether the call ran; a call that was taken so is given
//	                             back at the next look, and taken again
//	an answer nobody reads       each minute a node removes rows of its own that it forgot; Sweep, a leader's duty,
//	                             those of dead nodes, their links, and parts without a row after 12 h
package hub
