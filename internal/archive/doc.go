// Package archive reads packages that strangers made, and never believes them.
//
// The server calls Verify when a package is uploaded: it walks the whole archive, inflates every byte and
// checks every sum, but writes nothing. A target calls Extract: the same walk, into a fresh folder beside the
// wanted one, renamed into place when the last byte was right. So a half extracted package is never seen.
//
// What is refused, always with the entry's name and the reason as a fault (reliability-and-security.md 4.11):
//
//	names    not local, not UTF-8 in composed form (NFC), control characters, backslash, colon, a trailing dot
//	         or space, device names of Windows, over 4,096 bytes, deeper than 64 folders
//	tree     one name twice, names that differ by case only, a file where a folder is and the reverse,
//	         anything below a link
//	kinds    devices, pipes, sockets, setuid and setgid files, sparse files, encrypted entries;
//	         links, unless Options.Links, and then only those that stay inside
//	sizes    counted on what comes out, not on what is declared: Limits
//	lies     a wrong sum or size, local and central header of a zip that disagree, entries that overlap, two end
//	         records, data behind the end, an archive that stops too early
//
// Modes keep their read and execute bits for everybody, write bits for the owner only, and the owner may always
// read and write, so that clean-up works. Times are kept. Owners are not.
//
// A .nupkg is a zip whose names are percent-encoded and which carries packaging metadata that is no content:
// _rels/, package/services/metadata/, [Content_Types].xml and *.nupkg.sha512 are verified and left out. The
// .nuspec stays, as users expect.
//
// The zip reader is our own, since the library's believes the central directory and never looks at the rest.
// A fuzz target holds that whatever ours takes, the library reads as the same files.
package archive
