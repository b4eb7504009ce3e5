// Package access holds users, teams, roles and permissions, and says what an actor may do.
package access
