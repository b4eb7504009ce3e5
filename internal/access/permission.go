package access

// Permissions, in the words of the wire. Roles grant them in a space, on the server, or in both.
const (
	AccountCreate                     = "AccountCreate"
	AccountDelete                     = "AccountDelete"
	AccountEdit                       = "AccountEdit"
	AccountView                       = "AccountView"
	ActionTemplateCreate              = "ActionTemplateCreate"
	ActionTemplateDelete              = "ActionTemplateDelete"
	ActionTemplateEdit                = "ActionTemplateEdit"
	ActionTemplateView                = "ActionTemplateView"
	AdministerSystem                  = "AdministerSystem"
	ArtifactCreate                    = "ArtifactCreate"
	ArtifactDelete                    = "ArtifactDelete"
	ArtifactEdit                      = "ArtifactEdit"
	ArtifactView                      = "ArtifactView"
	BuildInformationAdminister        = "BuildInformationAdminister"
	BuildInformationPush              = "BuildInformationPush"
	BuiltInFeedAdminister             = "BuiltInFeedAdminister"
	BuiltInFeedDownload               = "BuiltInFeedDownload"
	BuiltInFeedPush                   = "BuiltInFeedPush"
	CertificateCreate                 = "CertificateCreate"
	CertificateDelete                 = "CertificateDelete"
	CertificateEdit                   = "CertificateEdit"
	CertificateExportPrivateKey       = "CertificateExportPrivateKey"
	CertificateView                   = "CertificateView"
	ConfigureServer                   = "ConfigureServer"
	DefectReport                      = "DefectReport"
	DefectResolve                     = "DefectResolve"
	DeploymentCreate                  = "DeploymentCreate"
	DeploymentDelete                  = "DeploymentDelete"
	DeploymentFreezeAdminister        = "DeploymentFreezeAdminister"
	DeploymentView                    = "DeploymentView"
	EnvironmentCreate                 = "EnvironmentCreate"
	EnvironmentDelete                 = "EnvironmentDelete"
	EnvironmentEdit                   = "EnvironmentEdit"
	EnvironmentView                   = "EnvironmentView"
	EphemeralEnvironmentProvision     = "EphemeralEnvironmentProvision"
	EventRetentionDelete              = "EventRetentionDelete"
	EventRetentionView                = "EventRetentionView"
	EventView                         = "EventView"
	FeedEdit                          = "FeedEdit"
	FeedView                          = "FeedView"
	GitCredentialEdit                 = "GitCredentialEdit"
	GitCredentialView                 = "GitCredentialView"
	InsightsReportCreate              = "InsightsReportCreate"
	InsightsReportDelete              = "InsightsReportDelete"
	InsightsReportEdit                = "InsightsReportEdit"
	InsightsReportView                = "InsightsReportView"
	InterruptionSubmit                = "InterruptionSubmit"
	InterruptionView                  = "InterruptionView"
	InterruptionViewSubmitResponsible = "InterruptionViewSubmitResponsible"
	LibraryVariableSetCreate          = "LibraryVariableSetCreate"
	LibraryVariableSetDelete          = "LibraryVariableSetDelete"
	LibraryVariableSetEdit            = "LibraryVariableSetEdit"
	LibraryVariableSetView            = "LibraryVariableSetView"
	LifecycleCreate                   = "LifecycleCreate"
	LifecycleDelete                   = "LifecycleDelete"
	LifecycleEdit                     = "LifecycleEdit"
	LifecycleView                     = "LifecycleView"
	MachineCreate                     = "MachineCreate"
	MachineDelete                     = "MachineDelete"
	MachineEdit                       = "MachineEdit"
	MachinePolicyCreate               = "MachinePolicyCreate"
	MachinePolicyDelete               = "MachinePolicyDelete"
	MachinePolicyEdit                 = "MachinePolicyEdit"
	MachinePolicyView                 = "MachinePolicyView"
	MachineView                       = "MachineView"
	PlatformHubEdit                   = "PlatformHubEdit"
	PlatformHubView                   = "PlatformHubView"
	ProcessEdit                       = "ProcessEdit"
	ProcessView                       = "ProcessView"
	ProjectCreate                     = "ProjectCreate"
	ProjectDelete                     = "ProjectDelete"
	ProjectEdit                       = "ProjectEdit"
	ProjectGroupCreate                = "ProjectGroupCreate"
	ProjectGroupDelete                = "ProjectGroupDelete"
	ProjectGroupEdit                  = "ProjectGroupEdit"
	ProjectGroupView                  = "ProjectGroupView"
	ProjectView                       = "ProjectView"
	ProxyCreate                       = "ProxyCreate"
	ProxyDelete                       = "ProxyDelete"
	ProxyEdit                         = "ProxyEdit"
	ProxyView                         = "ProxyView"
	ReleaseCreate                     = "ReleaseCreate"
	ReleaseDelete                     = "ReleaseDelete"
	ReleaseEdit                       = "ReleaseEdit"
	ReleaseView                       = "ReleaseView"
	RetentionAdminister               = "RetentionAdminister"
	RunbookEdit                       = "RunbookEdit"
	RunbookRunCreate                  = "RunbookRunCreate"
	RunbookRunDelete                  = "RunbookRunDelete"
	RunbookRunView                    = "RunbookRunView"
	RunbookView                       = "RunbookView"
	SpaceCreate                       = "SpaceCreate"
	SpaceDelete                       = "SpaceDelete"
	SpaceEdit                         = "SpaceEdit"
	SpaceView                         = "SpaceView"
	SubscriptionCreate                = "SubscriptionCreate"
	SubscriptionDelete                = "SubscriptionDelete"
	SubscriptionEdit                  = "SubscriptionEdit"
	SubscriptionView                  = "SubscriptionView"
	TagSetCreate                      = "TagSetCreate"
	TagSetDelete                      = "TagSetDelete"
	TagSetEdit                        = "TagSetEdit"
	TargetTagAdminister               = "TargetTagAdminister"
	TargetTagView                     = "TargetTagView"
	TaskCancel                        = "TaskCancel"
	TaskCreate                        = "TaskCreate"
	TaskEdit                          = "TaskEdit"
	TaskPrioritize                    = "TaskPrioritize"
	TaskView                          = "TaskView"
	TaskViewLog                       = "TaskViewLog"
	TeamCreate                        = "TeamCreate"
	TeamDelete                        = "TeamDelete"
	TeamEdit                          = "TeamEdit"
	TeamView                          = "TeamView"
	TenantCreate                      = "TenantCreate"
	TenantDelete                      = "TenantDelete"
	TenantEdit                        = "TenantEdit"
	TenantView                        = "TenantView"
	TriggerCreate                     = "TriggerCreate"
	TriggerDelete                     = "TriggerDelete"
	TriggerEdit                       = "TriggerEdit"
	TriggerView                       = "TriggerView"
	UserEdit                          = "UserEdit"
	UserInvite                        = "UserInvite"
	UserRoleEdit                      = "UserRoleEdit"
	UserRoleView                      = "UserRoleView"
	UserView                          = "UserView"
	VariableEdit                      = "VariableEdit"
	VariableEditUnscoped              = "VariableEditUnscoped"
	VariableView                      = "VariableView"
	VariableViewUnscoped              = "VariableViewUnscoped"
	WorkerEdit                        = "WorkerEdit"
	WorkerView                        = "WorkerView"
)

// onServer are the permissions roles grant on the server; the others, and those in onBoth, are granted in spaces.
var onServer = []string{
	AdministerSystem,
	ConfigureServer,
	EventRetentionDelete,
	EventRetentionView,
	EventView,
	PlatformHubEdit,
	PlatformHubView,
	SpaceCreate,
	SpaceDelete,
	SpaceEdit,
	SpaceView,
	TaskCancel,
	TaskCreate,
	TaskEdit,
	TaskPrioritize,
	TaskView,
	TaskViewLog,
	TeamCreate,
	TeamDelete,
	TeamEdit,
	TeamView,
	UserEdit,
	UserInvite,
	UserRoleEdit,
	UserRoleView,
	UserView,
}

// onBoth are granted in spaces as well as on the server.
var onBoth = []string{
	EventView,
	TaskCancel,
	TaskCreate,
	TaskEdit,
	TaskPrioritize,
	TaskView,
	TaskViewLog,
	TeamCreate,
	TeamDelete,
	TeamEdit,
	TeamView,
}

// all are the permissions, in order.
var all = []string{
	AccountCreate,
	AccountDelete,
	AccountEdit,
	AccountView,
	ActionTemplateCreate,
	ActionTemplateDelete,
	ActionTemplateEdit,
	ActionTemplateView,
	AdministerSystem,
	ArtifactCreate,
	ArtifactDelete,
	ArtifactEdit,
	ArtifactView,
	BuildInformationAdminister,
	BuildInformationPush,
	BuiltInFeedAdminister,
	BuiltInFeedDownload,
	BuiltInFeedPush,
	CertificateCreate,
	CertificateDelete,
	CertificateEdit,
	CertificateExportPrivateKey,
	CertificateView,
	ConfigureServer,
	DefectReport,
	DefectResolve,
	DeploymentCreate,
	DeploymentDelete,
	DeploymentFreezeAdminister,
	DeploymentView,
	EnvironmentCreate,
	EnvironmentDelete,
	EnvironmentEdit,
	EnvironmentView,
	EphemeralEnvironmentProvision,
	EventRetentionDelete,
	EventRetentionView,
	EventView,
	FeedEdit,
	FeedView,
	GitCredentialEdit,
	GitCredentialView,
	InsightsReportCreate,
	InsightsReportDelete,
	InsightsReportEdit,
	InsightsReportView,
	InterruptionSubmit,
	InterruptionView,
	InterruptionViewSubmitResponsible,
	LibraryVariableSetCreate,
	LibraryVariableSetDelete,
	LibraryVariableSetEdit,
	LibraryVariableSetView,
	LifecycleCreate,
	LifecycleDelete,
	LifecycleEdit,
	LifecycleView,
	MachineCreate,
	MachineDelete,
	MachineEdit,
	MachinePolicyCreate,
	MachinePolicyDelete,
	MachinePolicyEdit,
	MachinePolicyView,
	MachineView,
	PlatformHubEdit,
	PlatformHubView,
	ProcessEdit,
	ProcessView,
	ProjectCreate,
	ProjectDelete,
	ProjectEdit,
	ProjectGroupCreate,
	ProjectGroupDelete,
	ProjectGroupEdit,
	ProjectGroupView,
	ProjectView,
	ProxyCreate,
	ProxyDelete,
	ProxyEdit,
	ProxyView,
	ReleaseCreate,
	ReleaseDelete,
	ReleaseEdit,
	ReleaseView,
	RetentionAdminister,
	RunbookEdit,
	RunbookRunCreate,
	RunbookRunDelete,
	RunbookRunView,
	RunbookView,
	SpaceCreate,
	SpaceDelete,
	SpaceEdit,
	SpaceView,
	SubscriptionCreate,
	SubscriptionDelete,
	SubscriptionEdit,
	SubscriptionView,
	TagSetCreate,
	TagSetDelete,
	TagSetEdit,
	TargetTagAdminister,
	TargetTagView,
	TaskCancel,
	TaskCreate,
	TaskEdit,
	TaskPrioritize,
	TaskView,
	TaskViewLog,
	TeamCreate,
	TeamDelete,
	TeamEdit,
	TeamView,
	TenantCreate,
	TenantDelete,
	TenantEdit,
	TenantView,
	TriggerCreate,
	TriggerDelete,
	TriggerEdit,
	TriggerView,
	UserEdit,
	UserInvite,
	UserRoleEdit,
	UserRoleView,
	UserView,
	VariableEdit,
	VariableEditUnscoped,
	VariableView,
	VariableViewUnscoped,
	WorkerEdit,
	WorkerView,
}
