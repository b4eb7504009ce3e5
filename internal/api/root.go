package api

import (
	_ "embed"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/resource"
)

// linkText is every link of the root documents, one a line: name and template. A ~ stands for a space in a name.
//
//go:embed links.txt
var linkText string

// rootLinks gives the links for a space. {space} is the space's path; Feeds is unscoped on the server's root document only.
func rootLinks(space string, ofServer bool) map[string]string {
	links := map[string]string{"Self": "/api"}
	feeds := "/api/" + space
	if ofServer {
		feeds = "/api"
	} else {
		links["Self"] = "/api/" + space
	}
	for line := range strings.Lines(linkText) {
		name, template, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		template = strings.Replace(template, "{space}", "/api/"+space, 1)
		links[strings.ReplaceAll(name, "~", " ")] = strings.Replace(template, "{feeds}", feeds, 1)
	}
	return links
}

// Root is the document every client reads first.
type Root struct {
	Application          string
	Version              string
	ApiVersion           string
	InstallationId       string
	IsEarlyAccessProgram bool
	HasLongTermSupport   bool
	Links                map[string]string
}

// SpaceRoot is the root document of a space; it has no version, which clients test.
type SpaceRoot struct {
	Id    string
	Links map[string]string
}

func (a *API) rootRoutes() []route {
	return []route{
		get(server, "/", access.Anonymous, "", func(c *call) (Root, error) {
			def, err := a.control.SpaceOf(c.ctx, "")
			if err != nil {
				return Root{}, err
			}
			return Root{
				Application: "Octopus Deploy", Version: Version, ApiVersion: "3.0.0", InstallationId: a.control.Served.InstallationID, HasLongTermSupport: true, Links: rootLinks(def, true),
			}, nil
		}),
		get(space, spaceRoot, access.SignedIn, "", func(c *call) (SpaceRoot, error) {
			return SpaceRoot{c.space, rootLinks(c.space, false)}, nil
		}),
		get(server, "!/.well-known/openid-configuration", access.Anonymous, "", func(c *call) (resource.Object, error) {
			issuer := c.address()
			return resource.Object{"issuer": issuer, "token_endpoint": issuer + "/api/token/v1"}, nil
		}),
		get(server, "/swagger.json", access.SignedIn, "", func(c *call) (done, error) {
			writeJSON(c.w, 200, a.document)
			return done{}, nil
		}),
	}
}

// address is the server's own, as this client reached it.
func (c *call) address() string {
	scheme := "http"
	if c.r.TLS != nil || strings.EqualFold(c.r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host
}
