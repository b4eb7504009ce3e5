// Package feed is where packages come from: the built-in repository.
//
// # An upload
//
//	stage the bytes, hashing     a temporary, unseen
//	verify the archive           refused ones end here
//	claim the content's key      transaction 1: package_blob kept, since = now
//	keep the blob                whole under its digest
//	enter the version            transaction 2: now it is there for everybody, and whole
//
// A node that dies on the way leaves a claim without versions; Sweep removes its blob a day later
// (reliability-and-security.md M12, I10).
//
// # A blob
//
//	         claim by an upload, or a version let go: since = now
//	            +----+
//	            v    |
//	(none) --> kept -+--> dropping --> (none)
//	                  no version uses it and since is a day ago
//
// An upload whose content is dropping just now takes another key, so nobody waits and no version is ever
// without its blob: claim and drop are updates of the same row.
//
// # Names
//
// A version's id on the wire is "packages-Acme.Web.1.2.3". Id and version of a .nupkg come from its .nuspec,
// of all others from the file's name (behaviour.md 2.16). They are never part of a key.
package feed
