package api

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// PackageVersion is one version a feed has of a package (rest-api.md 4).
type PackageVersion struct {
	Id           string
	PackageId    string
	Version      string
	FeedId       string
	Title        string
	Published    resource.Time
	SizeBytes    int64
	ReleaseNotes *string
	Links        map[string]string
}

func (a *API) packageRoutes() []route {
	upload := act(http.MethodPost, space, "/packages/raw", access.BuiltInFeedPush, "overwriteMode replace fileName", (*call).upload)
	upload.body, upload.status, upload.out = "multipart/form-data", http.StatusCreated, typeOf[control.Package]()
	nuget := act(http.MethodPut, space, "/nuget/packages", access.BuiltInFeedPush, "overwriteMode replace", (*call).upload)
	nuget.body, nuget.status, nuget.out = "multipart/form-data", http.StatusCreated, typeOf[control.Package]()
	download := get(space, "/packages/{id}/raw", access.BuiltInFeedDownload, "", (*call).download)
	download.answer = "application/octet-stream"
	return []route{
		upload, nuget, download,
		get(space, "/packages", access.FeedView, "skip take nuGetPackageId filter latest includeNotes", func(c *call) (resource.Page[control.Package], error) {
			skip, take, err := c.page()
			if err != nil {
				return resource.Page[control.Package]{}, err
			}
			q := control.PackageQuery{
				PackageID: c.arg("nuGetPackageId"), Filter: c.arg("filter"), Latest: c.flag("latest"), IncludeNotes: c.flag("includeNotes"), Skip: skip, Take: max(take, 1),
			}
			list, total, err := c.control.ListPackages(c.ctx, c.space, q)
			if take == 0 {
				list = nil
			}
			for i := range list {
				c.link(&list[i])
			}
			return resource.NewPage("Package", c.path(), c.asked, skip, take, total, list), err
		}),
		get(space, "/packages/{id}", access.FeedView, "includeNotes", func(c *call) (control.Package, error) {
			p, err := c.control.GetPackage(c.ctx, c.space, c.id())
			if !c.flag("includeNotes") {
				p.ReleaseNotes = nil // the Go SDK reads it as a time
			}
			return c.link(&p), err
		}),
		act(http.MethodDelete, space, "/packages/{id}", access.BuiltInFeedAdminister, "", func(c *call) (empty, error) {
			return empty{}, c.control.DeletePackage(c.ctx, c.space, c.id())
		}),
		get(space, "/feeds/{id}/packages/versions", access.FeedView, "packageId take skip includePreRelease versionRange preReleaseTag filter includeReleaseNotes versionTagRegex versioningStrategy", func(c *call) (resource.Page[PackageVersion], error) {
			skip, take, err := c.page()
			if err != nil {
				return resource.Page[PackageVersion]{}, err
			}
			q := control.PackageVersionQuery{
				PackageID: c.arg("packageId"), Filter: c.arg("filter"), VersionRange: c.arg("versionRange"), PreReleaseTag: c.arg("preReleaseTag"), Strategy: c.arg("versioningStrategy"),
				VersionTagRegex: c.arg("versionTagRegex"), ExcludePreRelease: strings.EqualFold(c.arg("includePreRelease"), "false"), IncludeNotes: c.flag("includeReleaseNotes"), Skip: skip, Take: take,
			}
			list, total, err := c.control.PackageVersions(c.ctx, c.space, c.id(), q)
			var versions []PackageVersion
			for _, p := range list {
				c.link(&p)
				versions = append(versions, PackageVersion{p.Id, p.PackageId, p.Version, p.FeedId, p.Title, p.Published, p.PackageSizeBytes, p.ReleaseNotes, p.Links})
			}
			return resource.NewPage("PackageVersion", c.path(), c.asked, skip, take, total, versions), err
		}),
		get(space, "/feeds/{id}/packages/search", access.FeedView, "term skip take", func(c *call) (resource.Page[control.PackageDescription], error) {
			skip, take, err := c.page()
			if err != nil {
				return resource.Page[control.PackageDescription]{}, err
			}
			list, total, err := c.control.SearchPackages(c.ctx, c.space, c.id(), c.arg("term"), skip, take)
			return resource.NewPage("PackageDescription", c.path(), c.asked, skip, take, total, list), err
		}),
	}
}

func (c *call) flag(name string) bool { return strings.EqualFold(c.arg(name), "true") }

func (c *call) link(p *control.Package) control.Package {
	path := c.base() + "/packages/" + p.Id
	p.Links = map[string]string{"Self": path, "Raw": path + "/raw", "AllVersions": c.base() + "/packages?nuGetPackageId=" + p.PackageId, "Feed": c.base() + "/feeds/" + p.FeedId}
	return *p
}

// upload streams the first file of a form, whatever its field is called, or the whole body, into the feed.
func (c *call) upload() (stated, error) {
	name, body, err := c.file()
	if err != nil {
		return stated{}, err
	}
	mode := c.arg("overwriteMode")
	if mode == "" && c.flag("replace") {
		mode = "OverwriteExisting"
	}
	p, created, err := c.control.Upload(c.ctx, c.space, name, body, mode)
	if err != nil {
		var f *fault.Fault
		if errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &f) {
			err = fault.Because(fault.Invalidf("The upload broke off before its end. Please send it again."), err)
		}
		return stated{}, err
	}
	p.ReleaseNotes = nil
	status := http.StatusCreated
	if !created {
		status = http.StatusOK
	}
	return stated{status, c.link(&p)}, nil
}

// file finds what is uploaded, and its name.
func (c *call) file() (string, io.Reader, error) {
	kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if !strings.HasPrefix(kind, "multipart/") {
		_, parameters, _ := mime.ParseMediaType(c.r.Header.Get("Content-Disposition"))
		name := parameters["filename"]
		if name == "" {
			name = c.arg("fileName")
		}
		if name == "" {
			return "", nil, fault.InvalidField("file", "The name of the package is missing. Send it as a form (curl -F file=@Acme.Web.1.0.0.zip), or add ?fileName=Acme.Web.1.0.0.zip.")
		}
		return name, c.r.Body, nil
	}
	// The form reads 4 KiB at a time; below it the connection is read in larger pieces.
	c.r.Body = large{bufio.NewReaderSize(c.r.Body, 256<<10), c.r.Body}
	form, err := c.r.MultipartReader()
	if err != nil {
		return "", nil, fault.Because(fault.Invalidf("The form could not be read: %v.", err), err)
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return "", nil, fault.InvalidField("file", "The form has no file in it. Send one, as in curl -F file=@Acme.Web.1.0.0.zip.")
		}
		if err != nil {
			return "", nil, fault.Because(fault.Invalidf("The form could not be read: %v.", err), err)
		}
		if part.FileName() != "" {
			return part.FileName(), part, nil
		}
	}
}

// large is a body that is read through a buffer.
type large struct {
	io.Reader
	io.Closer
}

// download serves a package, in ranges if the client asks for them.
func (c *call) download() (done, error) {
	p, err := c.control.GetPackage(c.ctx, c.space, c.id())
	if err != nil {
		return done{}, err
	}
	content := c.control.OpenPackage(c.ctx, p)
	defer content.Close()
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": p.FileName()}))
	h.Set("Etag", `"`+p.Sha256+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(gzhttp.HeaderNoCompression, "1") // archives are packed already, and ranges are of the file's own bytes
	http.ServeContent(c.w, c.r, p.FileName(), p.Published.Time, content)
	return done{}, nil
}
