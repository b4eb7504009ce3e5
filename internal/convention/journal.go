package convention

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"

	"github.com/octavo/octavo/internal/fault"
)

const journalTime = "2006-01-02 15:04:05"

// installation is one entry of the deployment journal (deployments.md G9).
type installation struct {
	Id            string //nolint:revive // the file's name for it
	EnvironmentId string //nolint:revive // as above
	TenantId      string //nolint:revive // as above
	ProjectId     string //nolint:revive // as above
	InstalledOn   time.Time
	Set           string
	ExtractedTo   string
	CustomDir     string
	Successful    bool
	Packages      []installedPackage
}

type installedPackage struct{ Id, Version, From string }

// readJournal reads all installations in the order of the file. No file is an empty journal; a file that cannot be read is an
// error, since to go on would mean to forget what is installed.
func readJournal(path string) ([]installation, error) {
	doc, err := journalDocument(path)
	if err != nil {
		return nil, err
	}
	var all []installation
	for _, e := range doc.Root().SelectElements("Deployment") {
		all = append(all, installationOf(e))
	}
	return all, nil
}

func journalDocument(path string) (*etree.Document, error) {
	doc := etree.NewDocument()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		doc.CreateElement("Deployments")
		return doc, nil
	}
	if err != nil {
		return nil, err
	}
	if err := doc.ReadFromBytes(data); err != nil || doc.Root() == nil || doc.Root().Tag != "Deployments" {
		return nil, fault.Because(fault.Invalidf("The deployment journal %s cannot be read. Repair it, or move it away; it is never replaced by an empty one.", path), err)
	}
	return doc, nil
}

func installationOf(e *etree.Element) installation {
	when, _ := time.ParseInLocation(journalTime, e.SelectAttrValue("InstalledOn", ""), time.UTC) // zero time: the oldest
	i := installation{
		Id:            e.SelectAttrValue("Id", ""),
		EnvironmentId: e.SelectAttrValue("EnvironmentId", ""),
		TenantId:      e.SelectAttrValue("TenantId", ""),
		ProjectId:     e.SelectAttrValue("ProjectId", ""),
		InstalledOn:   when,
		Set:           e.SelectAttrValue("RetentionPolicySet", ""),
		ExtractedTo:   e.SelectAttrValue("ExtractedTo", ""),
		CustomDir:     e.SelectAttrValue("CustomInstallationDirectory", ""),
		Successful:    strings.EqualFold(e.SelectAttrValue("WasSuccessful", ""), "true"),
	}
	for _, p := range e.SelectElements("Package") {
		i.Packages = append(i.Packages, installedPackage{
			p.SelectAttrValue("PackageId", ""), p.SelectAttrValue("PackageVersion", ""), p.SelectAttrValue("DeployedFrom", ""),
		})
	}
	if id := e.SelectAttrValue("PackageId", ""); id != "" && len(i.Packages) == 0 { // an old entry
		i.Packages = append(i.Packages, installedPackage{id, e.SelectAttrValue("PackageVersion", ""), e.SelectAttrValue("ExtractedFrom", "")})
	}
	return i
}

func (i installation) element() *etree.Element {
	e := etree.NewElement("Deployment")
	e.CreateAttr("Id", i.Id)
	e.CreateAttr("EnvironmentId", i.EnvironmentId)
	e.CreateAttr("TenantId", i.TenantId)
	e.CreateAttr("ProjectId", i.ProjectId)
	e.CreateAttr("InstalledOn", i.InstalledOn.UTC().Format(journalTime))
	e.CreateAttr("RetentionPolicySet", i.Set)
	e.CreateAttr("ExtractedTo", i.ExtractedTo)
	e.CreateAttr("CustomInstallationDirectory", i.CustomDir)
	e.CreateAttr("WasSuccessful", title(i.Successful))
	for _, p := range i.Packages {
		c := e.CreateElement("Package")
		c.CreateAttr("PackageId", p.Id)
		c.CreateAttr("PackageVersion", p.Version)
		c.CreateAttr("DeployedFrom", p.From)
	}
	return e
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// changeJournal reads, changes and replaces the journal under its machine-wide lock.
func changeJournal(path string, change func(root *etree.Element)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	doc, err := journalDocument(path)
	if err != nil {
		return err
	}
	change(doc.Root())
	doc.Indent(2)
	data, err := doc.WriteToBytes()
	if err != nil {
		return err
	}
	return replaceFile(path, data, 0o644)
}

func addToJournal(path string, i installation) error {
	return changeJournal(path, func(root *etree.Element) { root.AddChild(i.element()) })
}

func removeFromJournal(path string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return changeJournal(path, func(root *etree.Element) {
		for _, e := range root.SelectElements("Deployment") {
			if slices.Contains(ids, e.SelectAttrValue("Id", "")) {
				root.RemoveChild(e)
			}
		}
	})
}

// replaceFile writes the whole text to a temporary file, makes sure that it is on disk, and renames it: whoever reads
// sees the old or the new one, also after a power cut.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".octavo-write-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when it was renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// inSet gives the installations of a retention set, oldest first. Search ignores case, cleaning does not (G11).
func inSet(all []installation, same func(set string) bool) []installation {
	var some []installation
	for _, i := range all {
		if same(i.Set) {
			some = append(some, i)
		}
	}
	slices.SortStableFunc(some, func(x, y installation) int { return x.InstalledOn.Compare(y.InstalledOn) })
	return some
}

// retentionSet is the name under which this action's installations are kept apart (deployments.md G11).
func (a *action) retentionSet() string {
	if set := a.vars.Text("Octopus.Tentacle.CurrentDeployment.RetentionPolicySet"); set != "" {
		return set
	}
	return RetentionSetName(a.vars.Text("Octopus.Environment.Id"), a.vars.Text("Octopus.Project.Id"), a.vars.Text("Octopus.Action.Name"),
		a.vars.Text("Octopus.Machine.Id"), a.vars.Text("Octopus.Deployment.Tenant.Id"))
}

// RetentionSetName is the name of G11; tenant is "" when there is none.
func RetentionSetName(environment, project, action, machine, tenant string) string {
	if tenant == "" {
		tenant = "<default>"
	}
	return environment + "/" + project + "/Step-" + action + "/" + machine + "/" + tenant
}

// installations gives those of this action, oldest first; none without a journal.
func (a *action) installations() ([]installation, error) {
	if a.journal == "" {
		return nil, nil
	}
	all, err := readJournal(a.journal)
	if err != nil {
		return nil, err
	}
	set := a.retentionSet()
	return inSet(all, func(s string) bool { return strings.EqualFold(s, set) }), nil
}

// setPrevious fills the variables about what was installed before (deployments.md G12).
func (a *action) setPrevious(before []installation) {
	var last, lastGood installation
	for _, i := range before {
		last = i
		if i.Successful {
			lastGood = i
		}
	}
	for prefix, i := range map[string]installation{
		"Octopus.Tentacle.PreviousInstallation.": last, "Octopus.Tentacle.PreviousSuccessfulInstallation.": lastGood,
	} {
		var p installedPackage
		if len(i.Packages) > 0 {
			p = i.Packages[0]
		}
		a.vars.Set(prefix+"PackageVersion", p.Version)
		a.vars.Set(prefix+"PackageFilePath", p.From)
		a.vars.Set(prefix+"OriginalInstalledPath", i.ExtractedTo)
		a.vars.Set(prefix+"CustomInstallationDirectory", i.CustomDir)
	}
}

// alreadyInstalled gives the latest installation of a package if it is this version and was successful (deployments.md G1).
func alreadyInstalled(before []installation, id, version string) (installation, bool) {
	for _, i := range slices.Backward(before) {
		for _, p := range i.Packages {
			if strings.EqualFold(p.Id, id) {
				return i, i.Successful && p.Version == version
			}
		}
	}
	return installation{}, false
}

// newGuid names a journal entry.
func newGuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}
