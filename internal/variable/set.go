package variable

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/resource"
)

// The types of a value (variables.md 3.1).
const (
	TypeString                   = "String"
	TypeSensitive                = "Sensitive"
	TypeCertificate              = "Certificate"
	TypeAmazonWebServicesAccount = "AmazonWebServicesAccount"
	TypeAzureAccount             = "AzureAccount"
	TypeGoogleCloudAccount       = "GoogleCloudAccount"
	TypeGenericOidcAccount       = "GenericOidcAccount"
	TypeUsernamePasswordAccount  = "UsernamePasswordAccount"
	TypeWorkerPool               = "WorkerPool"
)

// Types lists every type a value may have, in the order the portal offers them.
var Types = []string{
	TypeString, TypeSensitive, TypeCertificate, TypeAmazonWebServicesAccount, TypeAzureAccount,
	TypeGoogleCloudAccount, TypeGenericOidcAccount, TypeUsernamePasswordAccount, TypeWorkerPool,
}

// Variable is one value of a name; a set holds any number of them (variables.md 3.1).
type Variable struct {
	Id          string `json:",omitempty"` //nolint:revive // the wire's name
	Name        string
	Value       *string // null on the wire when the value is sensitive
	Description string  `json:",omitempty"`
	Type        string
	IsSensitive bool
	IsEditable  bool
	Prompt      *Prompt `json:",omitempty"`
	Scope       Scope

	// SecretId is where the text of a sensitive value lies at rest; it never travels.
	SecretId string `json:",omitempty"` //nolint:revive // as in resource.SensitiveValue
}

// Text gives the value, "" for null.
func (v Variable) Text() string {
	if v.Value == nil {
		return ""
	}
	return *v.Value
}

// Sensitive tells whether the value must be sealed at rest and masked in logs.
func (v Variable) Sensitive() bool { return v.IsSensitive || strings.EqualFold(v.Type, TypeSensitive) }

// VariableSet is the wire's and the store's form of a project's or a library set's variables (rest-api.md 4).
type VariableSet struct {
	resource.Meta
	OwnerId     string //nolint:revive // the wire's name
	Version     int
	Variables   []Variable
	ScopeValues *ScopeValues `json:",omitempty"` // computed when it is read, ignored when it is written
}

// ScopeValues lists what a value of the set may be scoped to (rest-api.md 4).
type ScopeValues struct {
	Environments []ScopeValue
	Machines     []ScopeValue
	Actions      []ScopeValue
	Roles        []ScopeValue
	Channels     []ScopeValue
	TenantTags   []ScopeValue
	Processes    []ScopeValue
}

// ScopeValue is one id with its name.
type ScopeValue struct {
	Id          string //nolint:revive // the wire's name
	Name        string
	ProcessType string `json:",omitempty"` // Processes only: Deployment or Runbook
}

// Scope maps a field to the ids it lists; an empty list is no scope (variables.md 3.1, 3.2).
type Scope map[Field][]string

// Field is one dimension of a scope.
type Field string

// The fields of a scope (variables.md 3.1).
const (
	FieldEnvironment  Field = "Environment"
	FieldMachine      Field = "Machine"
	FieldRole         Field = "Role"
	FieldAction       Field = "Action"
	FieldChannel      Field = "Channel"
	FieldTenantTag    Field = "TenantTag"
	FieldTenant       Field = "Tenant"
	FieldProcessOwner Field = "ProcessOwner"
	FieldProject      Field = "Project"

	// What follows never comes from a user's set: we add it when a run is planned.
	FieldTargetRole       Field = "TargetRole"
	FieldUser             Field = "User"
	FieldPrivate          Field = "Private"
	FieldTrigger          Field = "Trigger"
	FieldParentDeployment Field = "ParentDeployment"
	FieldProjectTemplate  Field = "ProjectTemplate"
)

var fields = []Field{
	FieldEnvironment, FieldMachine, FieldRole, FieldAction, FieldChannel, FieldTenantTag, FieldTenant,
	FieldProcessOwner, FieldProject, FieldTargetRole, FieldUser, FieldPrivate, FieldTrigger,
	FieldParentDeployment, FieldProjectTemplate,
}

// MarshalJSON writes {} for no scope at all, since clients expect an object.
func (s Scope) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[Field][]string(s))
}

// UnmarshalJSON reads fields without regard to case, as members of the wire are; null lists are kept empty.
func (s *Scope) UnmarshalJSON(b []byte) error {
	var m map[string][]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	*s = nil
	if m == nil {
		return nil
	}
	*s = make(Scope, len(m))
	for name, ids := range m {
		f := Field(name)
		if i := slices.IndexFunc(fields, func(f Field) bool { return strings.EqualFold(string(f), name) }); i >= 0 {
			f = fields[i]
		}
		if (*s)[f] == nil {
			(*s)[f] = []string{}
		}
		(*s)[f] = append((*s)[f], ids...)
	}
	return nil
}

// IsEmpty tells whether nothing restricts the value.
func (s Scope) IsEmpty() bool {
	for _, ids := range s {
		if len(ids) > 0 {
			return false
		}
	}
	return true
}
