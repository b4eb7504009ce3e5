// Package storage is the blob store as a running node has it: in which places content is, what to do when one of them cannot be
// used, and how content moves to another one while everybody works.
//
// # Places
//
// Where content is stands in the table blob_place, so that all nodes use the same (behaviour.md 79); without a row it is where the
// node's own setting says. A kind of content may have a place of its own (78). Each node reads the table every 5 s (on PostgreSQL
// 30 s), when it is hinted at, and before it says that something is missing.
//
// # Moving
//
//	            location  other   writes go to   reads look in
//	before      A         -       A              A
//	1 both      A         B       A              A, then B         all content of A is copied to B
//	2 switched  B         A       B              B, then A         what came meanwhile is copied too
//	after       B         -       B              B
//
// Deletes go to both. Each step waits until every node that is up acts upon it and has no write of an earlier one under way
// (blob_follower), so no node ever reads from a place that lacks what another one wrote. A node that has not read the table for
// 12 s does so before it writes, and a node that is silent for 15 s is dead and not waited for. Every step may be repeated:
// who moves content may be killed at any time and starts again where it was.
//
// # Watching
//
// Every 15 s each place is looked at: is it the cluster's own (blob.Belongs), can it be written, has it room? When not, the node
// takes no tasks and says why, and what asks for content gets that reason at once (reliability-and-security.md M17, I17). A place
// that does not answer at all, such as a share whose server is gone, is seen after 20 s: whoever waits for it is let go, and only
// goroutines stay behind that end when it is back. It heals by itself.
package storage
