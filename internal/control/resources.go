package control

import "github.com/octavo/octavo/internal/resource"

// Space holds everything else; what is in one space does not see what is in another.
type Space struct {
	resource.Meta
	Name                     string
	Slug                     string
	Description              string
	IsDefault                bool
	TaskQueueStopped         bool
	SpaceManagersTeams       []string
	SpaceManagersTeamMembers []string
	IsPrivate                bool
}

// Account is a set of credentials; AccountType tells which members count, and members of types we do not act on are kept.
type Account struct {
	resource.Meta
	Name                            string
	Slug                            string
	Description                     string
	AccountType                     string
	EnvironmentIds                  []string
	TenantIds                       []string
	TenantTags                      []string
	TenantedDeploymentParticipation string

	Username             string                   `json:",omitempty"` // UsernamePassword, SshKeyPair
	Password             *resource.SensitiveValue `json:",omitempty"` // UsernamePassword, AzureServicePrincipal
	Token                *resource.SensitiveValue `json:",omitempty"` // Token
	PrivateKeyFile       *resource.SensitiveValue `json:",omitempty"` // SshKeyPair
	PrivateKeyPassphrase *resource.SensitiveValue `json:",omitempty"` // SshKeyPair
	AccessKey            string                   `json:",omitempty"` // AmazonWebServicesAccount
	SecretKey            *resource.SensitiveValue `json:",omitempty"` // AmazonWebServicesAccount
	CertificateBytes     *resource.SensitiveValue `json:",omitempty"` // AzureSubscription
	JsonKey              *resource.SensitiveValue `json:",omitempty"` // GoogleCloudAccount
}

// AccountTypes are those an account may have (rest-api.md 4).
var AccountTypes = []string{
	"UsernamePassword", "Token", "SshKeyPair", "AmazonWebServicesAccount", "AmazonWebServicesOidcAccount", "AmazonWebServicesRoleAccount",
	"AzureServicePrincipal", "AzureOidc", "AzureSubscription", "GoogleCloudAccount", "GenericOidcAccount", "None",
}

// Feed is where packages come from.
type Feed struct {
	resource.Meta
	Name                              string
	Slug                              string
	FeedType                          string
	FeedUri                           string                   `json:",omitempty"`
	Username                          string                   `json:",omitempty"`
	Password                          *resource.SensitiveValue `json:",omitempty"`
	DownloadAttempts                  int
	DownloadRetryBackoffSeconds       int
	PackageAcquisitionLocationOptions []string
	EnvironmentIds                    []string
	TenantIds                         []string
	TenantTags                        []string
	DeleteUnreleasedPackagesAfterDays int `json:",omitempty"`
	IsBuiltInRepoSyncEnabled          bool
}

// BuiltIn is the type of the feed each space has from the start.
const BuiltIn = "BuiltIn"

// Proxy is a web proxy agents are reached through.
type Proxy struct {
	resource.Meta
	Name      string
	Host      string
	Port      int
	ProxyType string
	Username  string                   `json:",omitempty"`
	Password  *resource.SensitiveValue `json:",omitempty"`
}
