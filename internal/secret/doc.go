// Package secret keeps what must not be seen: the master key, values sealed with it, and their table.
// Masking of output is in secret/mask, which agents use too.
//
// # Keys
//
// The master key is 32 random bytes (16 are taken, as operators of other servers have such keys), base64, in a
// file of mode 0600 or in a setting. It never touches the database. From it comes one key for each purpose
// (table and column) and space, by HKDF-SHA256; values are sealed with AES-256-GCM:
//
//	byte 0        1         form
//	bytes 1-8     key id    the first 8 bytes of HKDF(master, "key id"): tells nothing about the key
//	bytes 9-20    nonce     random
//	rest          text, tag
//	bound to      form, key id, table, column, row, space
//
// So a value copied into another row, column or space does not open (reliability-and-security.md 4.7).
//
// # Starting
//
//	database has keys     key file there                       what happens
//	no                    no                                   a key is made
//	no                    yes                                  it becomes the database's key
//	yes                   no, or lacks one of them             refused: copy the key from another node
//	yes                   has all of them                      on we go
//
// # Rotation
//
// A key file may hold several keys, one a line: the first seals, all open. To rotate while nodes run: add the
// new key as second line everywhere, restart; make it the first everywhere, restart; Reseal until it says 0;
// take the old line away.
package secret
