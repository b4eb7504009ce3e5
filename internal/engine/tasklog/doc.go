// Package tasklog keeps what a task said: numbered entries, written under the task's fence,
// readable through every node while they appear and for ever after.
//
// An entry is a line of text or a change of an activity (a node of the tree that
// GET tasks/{id}/details shows). Entries are the only truth: the tree, the raw text and the
// live view are folds over the same stream, so they cannot disagree.
//
//	table log_chunk   (task, seq) -> some entries, one JSON object a line      while the task lives
//	table log_sealed  task -> blob key, entries, bytes, SHA-256                after its end
//
// A chunk's seq is the number of its first entry. Numbers come from the fence
// (cluster.Fence.Lines), so a fenced writer cannot add a line, and they go on across owners.
// Sealing writes all chunks as one compressed blob, reads it back, and only then, in one
// transaction, records it and drops the chunks (reliability-and-security.md M11, I7).
//
// Text reaches this package already masked; nothing here may be given a secret.
package tasklog
