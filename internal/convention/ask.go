package convention

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"path"
	"strings"

	"github.com/octavo/octavo/internal/script"
)

// The files a server puts into a workspace.
const (
	variablesName = "Octopus.vars"
	keyName       = "Octopus.key"
	packagesName  = "Octopus.packages"
	retentionName = "Octopus.retention"
)

// ExitToolMissing is the exit code of Body when the machine has no tool yet.
const ExitToolMissing = 174

// ToolMissing is the service message that says so, with the attributes platform and path.
const ToolMissing = "octavo-tool-missing"

// PackageMissing is the service message for a package that has to be uploaded: id, version, path.
const PackageMissing = "octavo-package-missing"

// FoundPackage is the service message for a package in the cache (tentacle-protocol.md 4.7).
const FoundPackage = "foundPackage"

// Package is one package that a target needs.
type Package struct {
	Id        string //nolint:revive // the wire's name
	Version   string
	FeedId    string `json:",omitempty"` //nolint:revive // the wire's name
	Hash      string `json:",omitempty"` // SHA-256, hex; empty only for a package the target downloads
	Size      int64  `json:",omitempty"`
	Extension string // with its dot, as ".zip" or ".tar.gz"

	// For AcquisitionLocation ExecutionTarget. The password is the value of a variable, so that it is sealed.
	Url              string `json:",omitempty"` //nolint:revive // the wire's name
	UserName         string `json:",omitempty"`
	PasswordVariable string `json:",omitempty"`
}

// Path is where the package belongs on a target, below the agent's home (tentacle-protocol.md 2.10). It follows from
// what the package is, so a server knows it without asking.
func (p Package) Path() string {
	unique := p.Hash
	if unique == "" {
		sum := sha256.Sum256([]byte(p.FeedId + "\x00" + p.Id + "\x00" + p.Version))
		unique = hex.EncodeToString(sum[:])
	}
	unique = strings.ToUpper(unique[:min(32, len(unique))])
	return path.Join("Files", url.PathEscape(p.Id)+"@S"+url.PathEscape(p.Version)+"@"+unique+p.Extension)
}

// RetentionSet says what stays of one retention set (deployments.md G11, K20-K22). With neither days nor
// items everything stays.
type RetentionSet struct {
	Set   string
	Items int `json:",omitempty"` // this many successful ones before the current one stay
	Days  int `json:",omitempty"` // what is older goes
}

// VariableFiles seals variables for a workspace under a fresh key (tentacle-protocol.md 4.3, 4.4).
func VariableFiles(variables []script.Variable) ([]script.File, error) {
	password := script.NewPassword()
	sealed, err := script.SealVariables(variables, password)
	if err != nil {
		return nil, err
	}
	return []script.File{{Name: variablesName, Content: sealed}, {Name: keyName, Content: []byte(password)}}, nil
}

// PackagesFile is what find-packages, verify-packages and download-packages work on.
func PackagesFile(packages []Package) (script.File, error) { return jsonFile(packagesName, packages) }

// RetentionFile is what clean works on.
func RetentionFile(sets []RetentionSet) (script.File, error) { return jsonFile(retentionName, sets) }

func jsonFile(name string, v any) (script.File, error) {
	b, err := json.Marshal(v)
	return script.File{Name: name, Content: b}, err
}

// ToolPath is where a server puts the tool on an unmodified Tentacle, below its home; platform is as "linux-amd64".
func ToolPath(version, platform string) string {
	return path.Join("Tools", "Octavo", version, platform, "octavo-agent")
}

// ToolMark is the file that is uploaded after the tool: without it the tool is not whole.
func ToolMark(toolPath string) string { return toolPath + ".whole" }

//go:embed body.sh
var body string

// Body is the Bash script that runs one command of the tool. command and version are words of ours, never a user's.
func Body(command, version string) string {
	return strings.NewReplacer("%COMMAND%", command, "%VERSION%", version).Replace(body)
}
