// Package db is the ground under every table: two engines, one SQL text, transactions that carry
// one time, migrations, and hints.
//
// # Engines
//
// Open takes a PostgreSQL URL, or a path for SQLite. Both run the same text: $1 placeholders,
// RETURNING, ON CONFLICT, CTEs, UPDATE..FROM, FILTER, window functions, partial unique indexes and
// booleans. Kept out of queries: arrays, JSON operators, now(), intervals, ILIKE. Times are Unix
// milliseconds (BIGINT); JSON is TEXT. Where the engines truly differ, Tx.Engine tells which one it is.
//
//	                SQLite                              PostgreSQL
//	InTx            the one write handle, immediate     the pool
//	                those that wait share a commit      begin and commit may travel with statements (Send, SendLast)
//	Read            a read handle (query_only, WAL)     the pool, read only
//	Queue           = InTx                              own pool; its plans ignore statistics
//	Control         = InTx                              own connection, for heartbeats only
//	Hint, Listen    in this process                     pg_notify and LISTEN on own connections; HintOne: to one process
//
// A function that runs SQL takes *Tx and never sees the pool. A transaction that lost against
// another one (serialisation, deadlock, busy) is run again, so its function must have no effect
// but on the database.
//
// # Migrations
//
// migrations/NNNN_name.sql are embedded and run in order, up only, each in one transaction under one
// lock, each recorded with the hash of its text. One text serves both engines by these words:
//
//	{{bytes}}      BYTEA / BLOB
//	{{serial}}     a primary key that counts by itself
//	{{postgres}}   at the start of a line: the line is for PostgreSQL only
//	{{sqlite}}     at the start of a line: the line is for SQLite only
//
// A line "-- needs-binary: 12" says that binaries whose newest migration is below 12 must not use the
// database any more once this step is in (the contract half of expand and contract). Other binaries go
// on: two versions always run side by side for a while (reliability-and-security.md I15).
package db
