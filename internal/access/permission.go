package access

import "context"

// Permission names what a caller must be allowed to do; the words are the reference's, since clients print them.
type Permission string

// Two permissions that are no right at all, so that a route must say it wants nobody in particular.
const (
	Anonymous Permission = "-" // anybody, known or not
	SignedIn  Permission = "+" // anybody we know
)

// Permissions of spaces.
const (
	EnvironmentView       Permission = "EnvironmentView"
	EnvironmentCreate     Permission = "EnvironmentCreate"
	EnvironmentEdit       Permission = "EnvironmentEdit"
	EnvironmentDelete     Permission = "EnvironmentDelete"
	ProjectGroupView      Permission = "ProjectGroupView"
	ProjectGroupCreate    Permission = "ProjectGroupCreate"
	ProjectGroupEdit      Permission = "ProjectGroupEdit"
	ProjectGroupDelete    Permission = "ProjectGroupDelete"
	LifecycleView         Permission = "LifecycleView"
	LifecycleCreate       Permission = "LifecycleCreate"
	LifecycleEdit         Permission = "LifecycleEdit"
	LifecycleDelete       Permission = "LifecycleDelete"
	ProjectView           Permission = "ProjectView"
	ProjectCreate         Permission = "ProjectCreate"
	ProjectEdit           Permission = "ProjectEdit"
	ProjectDelete         Permission = "ProjectDelete"
	ProcessView           Permission = "ProcessView"
	ProcessEdit           Permission = "ProcessEdit"
	VariableView          Permission = "VariableView"
	VariableEdit          Permission = "VariableEdit"
	ReleaseView           Permission = "ReleaseView"
	ReleaseCreate         Permission = "ReleaseCreate"
	ReleaseEdit           Permission = "ReleaseEdit"
	ReleaseDelete         Permission = "ReleaseDelete"
	DeploymentView        Permission = "DeploymentView"
	DeploymentCreate      Permission = "DeploymentCreate"
	DeploymentDelete      Permission = "DeploymentDelete"
	MachineView           Permission = "MachineView"
	MachineCreate         Permission = "MachineCreate"
	MachineEdit           Permission = "MachineEdit"
	MachineDelete         Permission = "MachineDelete"
	MachinePolicyView     Permission = "MachinePolicyView"
	MachinePolicyCreate   Permission = "MachinePolicyCreate"
	MachinePolicyEdit     Permission = "MachinePolicyEdit"
	MachinePolicyDelete   Permission = "MachinePolicyDelete"
	WorkerView            Permission = "WorkerView"
	WorkerEdit            Permission = "WorkerEdit"
	AccountView           Permission = "AccountView"
	AccountCreate         Permission = "AccountCreate"
	AccountEdit           Permission = "AccountEdit"
	AccountDelete         Permission = "AccountDelete"
	FeedView              Permission = "FeedView"
	FeedEdit              Permission = "FeedEdit"
	BuiltInFeedPush       Permission = "BuiltInFeedPush"
	BuiltInFeedDownload   Permission = "BuiltInFeedDownload"
	BuiltInFeedAdminister Permission = "BuiltInFeedAdminister"
	TenantView            Permission = "TenantView"
	TenantCreate          Permission = "TenantCreate"
	TenantEdit            Permission = "TenantEdit"
	TenantDelete          Permission = "TenantDelete"
	TagSetCreate          Permission = "TagSetCreate"
	TagSetEdit            Permission = "TagSetEdit"
	TagSetDelete          Permission = "TagSetDelete"
	ProxyView             Permission = "ProxyView"
	ProxyCreate           Permission = "ProxyCreate"
	ProxyEdit             Permission = "ProxyEdit"
	ProxyDelete           Permission = "ProxyDelete"
	TaskView              Permission = "TaskView"
	TaskCreate            Permission = "TaskCreate"
	TaskCancel            Permission = "TaskCancel"
	TaskEdit              Permission = "TaskEdit"
	TaskPrioritize        Permission = "TaskPrioritize"
	TeamView              Permission = "TeamView"
	TeamCreate            Permission = "TeamCreate"
	TeamEdit              Permission = "TeamEdit"
	TeamDelete            Permission = "TeamDelete"
	EventView             Permission = "EventView"
	CertificateView       Permission = "CertificateView"

	InterruptionView                  Permission = "InterruptionView"
	InterruptionSubmit                Permission = "InterruptionSubmit"
	InterruptionViewSubmitResponsible Permission = "InterruptionViewSubmitResponsible"
)

// Permissions of the server.
const (
	AdministerSystem Permission = "AdministerSystem"
	ConfigureServer  Permission = "ConfigureServer"
	SpaceView        Permission = "SpaceView"
	SpaceCreate      Permission = "SpaceCreate"
	SpaceEdit        Permission = "SpaceEdit"
	SpaceDelete      Permission = "SpaceDelete"
	UserView         Permission = "UserView"
	UserEdit         Permission = "UserEdit"
	UserRoleView     Permission = "UserRoleView"
)

// Actor is who does something, and how we know.
type Actor struct {
	UserId        string
	Username      string
	IsService     bool
	Established   string // how we know: "API key", "Session cookie", "System"
	KeyPurpose    string // of the API key used
	Address       string
	UserAgent     string
	Administrator bool
}

// May tells whether an actor has a permission in a space; "" is the server. In this release a user is an
// administrator, who may do everything, or nobody, who may only see himself.
func (a Actor) May(p Permission, _ string) bool {
	switch p {
	case Anonymous:
		return true
	case SignedIn:
		return a.UserId != ""
	default:
		return a.Administrator
	}
}

type actorKey struct{}

// With attaches the actor to what is done for him.
func With(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// System is the server itself, as it acts without anybody asking: at its start, and in its duties.
var System = Actor{UserId: "users-system", Username: "system", IsService: true, Established: "System", UserAgent: "Server", Administrator: true}

// From tells for whom something is done. Without anybody it is nobody, who may do nothing: what is forgotten is refused.
func From(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
