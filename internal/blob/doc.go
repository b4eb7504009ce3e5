// Package blob keeps large content: packages, artifacts, sealed task logs. Every node sees the same store.
//
// Content appears under its key whole or not at all, and never changes afterwards. The folder driver does it
// so (reliability-and-security.md M12):
//
//	stream into .incoming/<random> on the same file system, hashing -> fsync the file
//	-> link(2) to the key, which fails if the key is taken -> fsync the key's folder -> remove the temporary
//
// A node that dies on the way leaves a temporary only, which Sweep removes a day later. Who deletes content
// removes its own row first and the blob later, so that a reader never meets a row without a blob.
//
// A key is a path of plain words, such as "packages/3f/3fa4...": letters, digits, '.', '_' and '-', no word
// beginning with a dot. What people type (package ids, file names) is never a key.
package blob
