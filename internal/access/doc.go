// Package access holds users, teams, roles and permissions, and says what an actor may do.
//
// Today there are two kinds of actors: administrators (and the server itself), who may do everything, and the others, who may do
// nothing but see themselves. Everything asks [Actor.May] with a permission and a space, so that scoped roles can come later in one
// place.
package access
