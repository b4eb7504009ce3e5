// Package release holds releases and snapshots, and how their versions and packages are chosen (deployments.md 1).
//
//	a version is given, or comes from a template ([FromTemplate]) or a donor package ([FromDonor])
//	  -> its i and c parts are filled in ([ResolveMask]), inside the transaction that inserts the release
//	  -> it must be new in the project ([Duplicate])
//	packages: fixed in the process, given ([ParseGiven]), or the best of all versions the feed has ([Select], [Pick])
//
// Versions have one to four numeric parts and are ordered as NuGet orders them: by number, then by SemVer's pre-release
// rules, without regard to case or to what follows "+". [ParseFile] reads id and version from the name of a package file.
package release
