package access

import (
	"slices"

	"github.com/octavo/octavo/internal/fault"
)

// Teams and users every server has.
const (
	TeamAdministrators = "teams-administrators"
	TeamEveryone       = "teams-everyone"
	SystemUser         = "users-system"
)

// How an actor showed who it is (rest-api.md: IdentityEstablishedWith).
const (
	ByPassword = "Password"
	ByApiKey   = "API key"
	ByToken    = "Access token"
	ByNobody   = "" // the server itself
)

// Actor is who does something: a signed-in user, the server itself, or (the zero value) nobody known.
type Actor struct {
	UserId      string
	Username    string
	DisplayName string
	IsService   bool
	By          string // how it showed who it is
	KeyId       string // of the API key, if it was one
	Address     string // where it called from
	UserAgent   string

	administrator bool
}

// System is the server itself: triggers, retention, automatic deployments.
func System() Actor {
	return Actor{UserId: SystemUser, Username: "system", DisplayName: "System", administrator: true}
}

// NewActor makes an actor of a signed-in user. Today a member of the administrators may do everything, and nobody else
// anything; scoped roles come later, behind the same May.
func NewActor(user User, teams []Team, by string) Actor {
	return Actor{
		UserId: user.Id, Username: user.Username, DisplayName: user.DisplayName, IsService: user.IsService, By: by,
		administrator: user.IsActive && slices.ContainsFunc(teams, func(t Team) bool {
			return t.Id == TeamAdministrators && slices.Contains(t.MemberUserIds, user.Id)
		}),
	}
}

// Known tells whether the actor is anybody.
func (a Actor) Known() bool { return a.UserId != "" }

// IsSystem tells whether the actor is the server itself.
func (a Actor) IsSystem() bool { return a.UserId == SystemUser }

// May tells whether the actor has a permission in a space ("" is the server). An administrator has it everywhere.
func (a Actor) May(permission, _ string) bool {
	return a.administrator && slices.Contains(all, permission)
}

// Check refuses what the actor may not do.
func (a Actor) Check(permission, space string) error {
	switch {
	case a.May(permission, space):
		return nil
	case !a.Known():
		return &fault.Fault{Kind: fault.Unauthenticated, Text: "You must be logged in to request this resource. Please provide a valid API key or log in."}
	case space == "":
		return fault.Deniedf("You do not have permission to perform this action. Please contact your administrator. Missing permission: %s.", permission)
	}
	return fault.Deniedf("You do not have permission to perform this action in %s. Please contact your administrator. Missing permission: %s.", space, permission)
}

// Permissions lists every permission, in order.
func Permissions() []string { return slices.Clone(all) }

// OnServer tells whether roles grant a permission on the server.
func OnServer(permission string) bool { return slices.Contains(onServer, permission) }

// InSpace tells whether roles grant a permission in a space.
func InSpace(permission string) bool {
	return !OnServer(permission) || slices.Contains(onBoth, permission)
}
