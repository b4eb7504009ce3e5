package access

import "github.com/octavo/octavo/internal/resource"

// User is somebody, or a service, that signs in.
type User struct {
	resource.Meta
	Username            string
	DisplayName         string
	EmailAddress        string `json:",omitempty"`
	IsActive            bool
	IsService           bool
	IsRequestor         bool
	CanPasswordBeEdited bool
	Identities          []Identity
}

// Identity is who a user is at an identity provider.
type Identity struct {
	IdentityProviderName string
	Claims               map[string]Claim
}

// Claim is one statement of an identity provider.
type Claim struct {
	Value              string
	IsIdentifyingClaim bool
}

// ApiKey lets a program act as a user. The key itself is shown once, when it is made.
type ApiKey struct {
	resource.Meta
	Purpose string
	UserId  string
	Created resource.Time
	Expires *resource.Time `json:",omitempty"`
	ApiKey  resource.SensitiveValue
}

// Team is a group of users; it belongs to a space, or to the server when SpaceId is empty.
type Team struct {
	resource.Meta
	Name                   string
	Slug                   string
	Description            string
	MemberUserIds          []string
	ExternalSecurityGroups []ExternalGroup
	CanBeDeleted           bool
	CanBeRenamed           bool
	CanChangeRoles         bool
	CanChangeMembers       bool
}

// ExternalGroup is a group at an identity provider whose members belong to a team.
type ExternalGroup struct {
	Id               string
	DisplayName      string
	DisplayIdAndName bool
}

// UserRole is a named set of permissions.
type UserRole struct {
	resource.Meta
	Name                         string
	Description                  string
	GrantedSpacePermissions      []string
	GrantedSystemPermissions     []string
	SpacePermissionDescriptions  []string
	SystemPermissionDescriptions []string
	SupportedRestrictions        []string
	CanBeDeleted                 bool
}

// ScopedUserRole gives a team a role, within bounds.
type ScopedUserRole struct {
	resource.Meta
	TeamId          string
	UserRoleId      string
	ProjectIds      []string
	EnvironmentIds  []string
	ProjectGroupIds []string
	TenantIds       []string
}
