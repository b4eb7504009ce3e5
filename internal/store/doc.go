// Package store keeps configuration: one row for each aggregate, whatever its kind.
//
// A row holds the client's own object ([resource.Object]) and, apart from it, what the server itself says
// of it (members a kind lists as Owned). Reading puts the two together; a client's save touches the first
// only, [SetOwned] the second only, so neither undoes the other.
//
//	document   id, kind, space, name, slug, version, doc, owned
//	lifted     values that lists are filtered by, one row each
//	reference  who names whom; a foreign key, so that what is in use cannot be deleted by any race
//
// Nothing here knows one kind from another: all that differs stands in [resource.Kind].
package store
