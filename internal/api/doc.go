// Package api is the REST face: it decodes, asks a use case of control, and encodes.
//
//	request -> normalise (three routing forms become one) -> mux -> who is it? -> may he? -> decode -> use case -> encode
//
// # The route table
//
// Every operation is one row of routes(): method, path, permission, scope, the types of its body and answer, and the use
// case. The constructors take the permission, so a route without one does not compile. Authorisation happens in one place,
// [API.serve], from the row. The OpenAPI document (/api/swagger.json) is made from the same rows.
//
// # Routing forms (rest-api.md 1)
//
//	/api/spaces/{id or slug}/environments   the space is named
//	/api/Spaces-1/environments              the same, the older form
//	/api/environments                       the default space; of tasks, teams and the like: all spaces
//
// All three become "/environments" with the space beside it. Literal segments are folded to lower case; a trailing slash goes.
//
// # Answers
//
// Lists and maps are never null. Errors are one JSON shape; a 404 has no Errors member's list, since clients take one for a
// different error. Links are templates that stand in the kinds' rows and in links.txt.
package api
