// Package backup copies a whole installation, rows and blobs, into a folder while nodes work, and makes an installation out of such
// a folder on the same or the other database engine (behaviour.md 93).
//
//	snapshot.json        what tables/ holds; written when all of it is there
//	tables/NAME.jsonl.zst  one row a line, all of one transaction's view
//	blobs/               a blob folder with the content
//	blobs.jsonl          key, size and SHA-256 of each blob
//	backup.json          written last: the backup is complete
//
// Rows come first and blobs after them. A row is never there before its blob, blobs never change, and what no row names any more
// stays for 24 hours; so every blob that a row of the snapshot names is still there, if the copy ends within that time. An
// interrupted backup is taken up again; when its snapshot has become old, rows are read anew and blobs are kept.
//
// Restore brings blobs first, then all rows in one transaction, reads the rows back and compares their digest. So an interrupted
// restore leaves a database without a single row, and is run again. The digest of a table is the sum of its rows' SHA-256,
// which does not depend on the order in which an engine gives them.
//
// Secrets stay encrypted: the master key is not in a backup, and is needed beside it.
//
// Left out are tables that follow from others (derived) or tell where this installation's blobs are (local).
package backup
