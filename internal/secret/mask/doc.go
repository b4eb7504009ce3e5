// Package mask replaces secrets in streams of output by ********, wherever the stream is cut into pieces.
//
// It is a package of its own so that agents can use it without a database. Rules are those of
// reliability-and-security.md 4.8. Masking limits damage, it is no boundary: a script that wants to give a
// secret away can encode it in a way nobody thought of.
//
// # What is looked for
//
// A [Set] is made of the values. For each it looks for the value itself, the value without outer blanks, with
// other line ends, each of its lines from 6 bytes on, and its usual disguises: JSON, URL, XML, shell,
// PowerShell, hex, base64 (two alphabets, three alignments), UTF-16 and base64 of that. Values of 4 and 5
// bytes are looked for as they are, since their disguises are everyday text. Shorter ones are not looked for at
// all ([Weak]); whoever stores one is warned.
//
// # How
//
// One Aho-Corasick automaton finds all occurrences, overlapping ones too. Occurrences that overlap are one
// mask. A filter over the first four bytes of all patterns skips the places where none begins, which is
// nearly everywhere, so that the automaton is seldom asked.
//
// Bytes that may still become part of an occurrence are held back. They are always the end of the stream so
// far and the beginning of a pattern. So the whole state of a stream is these bytes, and how many of them
// belong to a mask that was written already:
//
//	stream    ... password is hun|ter
//	written   ... password is
//	State     Held "hunter", Covered 0
//
// That state goes on with another Set as well, when a script makes a new secret.
//
// At the end of a stream, eight held bytes or more are masked: somebody was cut off in mid-secret.
//
// Colour codes (CSI sequences) are transparent: one inside a secret does not hide it.
package mask
