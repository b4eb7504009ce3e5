// Package resource holds what every stored resource shares: its identity, sensitive values, the time
// format of the wire, the row that declares a kind, and the client's own JSON object.
//
// # One noun, one shape
//
// The wire of the REST API is fixed by its clients for good, so a resource's Go struct carries the wire's
// names, and what is stored is the client's own object ([Object]). [Fold] makes one of what a client sent:
//
//	member names        folded to the struct's case ("projectName" is ProjectName); map keys never are
//	lists and maps      never null or absent: [] and {} (a struct's omitempty keeps them out)
//	booleans, numbers   absent or null is false and 0 (a pointer keeps them as they were sent)
//	texts, pointers     as sent: "", null and absent come back as "", null and absent
//	unknown members     as sent, and given back untouched
//
// A struct is a view of such an object ([View]); nothing is lost by a member it does not have.
package resource
