// Package access holds users, teams, roles and permissions, and says what an actor may do.
//
// Permission and Actor are in permission.go; control and api are written against them.
package access
