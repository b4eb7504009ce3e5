// Package control holds the use cases: everything a person, a trigger or a client may ask for.
//
// # Kinds
//
// A resource kind is one row of the table in kinds.go: path, id prefix, struct, scope, defaults, permissions,
// links, references, filters, and the two rules that make it more than a document: Check, which runs before it is stored
// and may complete or refuse it, and Stored, which runs behind it in the same transaction. Creating, changing, reading,
// listing and deleting are the same five functions for all kinds (crud.go). Adding a plain kind is a struct and a row.
//
//	client's object -> Fold -> Defaults -> (transaction: secrets apart -> Check -> store -> Stored -> audit event)
//
// # Rules
//
// Every use case takes a context that carries its actor ([access.From]) and runs in one transaction; so does its audit
// event. Whether the actor may is asked before, at the one choke point of the faces ([Control.Authorize]).
// Secrets live in rows of their own; a document holds their ids, which no client ever sees or sets.
package control
