package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Status is GET serverstatus.
type Status struct {
	IsInMaintenanceMode                     bool
	IsDatabaseEncrypted                     bool
	IsMajorMinorUpgrade                     bool
	IsUpgradeAvailable                      bool
	MaximumAvailableVersion                 string
	MaximumAvailableVersionCoveredByLicense string
	MaintenanceExpires                      *resource.Time
	Links                                   map[string]string
}

// Health is GET serverstatus/health.
type Health struct {
	Description                  string
	IsOperatingNormally          bool
	IsEntireClusterDrainingTasks bool
	IsEntireClusterReadOnly      bool
	IsCompliantWithLicense       bool
	Links                        map[string]string
}

// NodeSettings is what a client may change of a node.
type NodeSettings struct {
	Id                  string
	IsInMaintenanceMode *bool
	MaxConcurrentTasks  *int
}

// NodeDetails is GET octopusservernodes/{id}/details.
type NodeDetails struct {
	Id           string
	RunningTasks int
	Links        map[string]string
}

// Summary is GET octopusservernodes/summary.
type Summary struct {
	Nodes []control.Node
	Links map[string]string
}

// Certificate is what agents are to trust.
type Certificate struct {
	Id                 string
	Name               string
	Thumbprint         string
	CertificateData    string // base64 of its DER form
	SignatureAlgorithm string
	Links              map[string]string
}

// TokenRequest is the body of POST token/v1.
type TokenRequest struct {
	GrantType        string `json:"grant_type"`
	Audience         string `json:"audience"`
	SubjectTokenType string `json:"subject_token_type"`
	SubjectToken     string `json:"subject_token"`
}

// capabilities are the commands and requests a client may ask for by name.
var capabilities = []string{
	"CreateDeploymentUntenantedCommandV1", "CreateReleaseCommandV1", "GetAllSpacesRequest", "GetCapabilitiesRequest", "ListServerTasksRequest",
}

func (a *API) serverRoutes() []route {
	nodes := func(c *call) ([]control.Node, error) {
		all, err := c.control.Nodes(c.ctx)
		ids, part := c.args("ids"), strings.ToLower(c.arg("partialName"))
		return slices.DeleteFunc(all, func(n control.Node) bool {
			return len(ids) > 0 && !slices.Contains(ids, n.Id) || !strings.Contains(strings.ToLower(n.Name), part)
		}), err
	}
	return []route{
		get(server, "/octopusservernodes", access.SignedIn, "ids partialName skip take", func(c *call) (resource.Page[control.Node], error) {
			all, err := nodes(c)
			if err != nil {
				return resource.Page[control.Node]{}, err
			}
			skip, take, err := c.page()
			return resource.NewPage("OctopusServerNode", c.path(), c.asked, skip, take, len(all), all[min(skip, len(all)):min(skip+take, len(all))]), err
		}),
		get(server, "/octopusservernodes/all", access.SignedIn, "", nodes),
		get(server, "/octopusservernodes/summary", access.SignedIn, "", func(c *call) (Summary, error) {
			all, err := c.control.Nodes(c.ctx)
			return Summary{all, map[string]string{"Self": "/api/octopusservernodes/summary"}}, err
		}),
		get(server, "/octopusservernodes/ping", access.Anonymous, "", func(c *call) (stated, error) {
			n, err := c.control.GetNode(c.ctx, "")
			status := http.StatusOK
			if n.IsOffline || n.IsInMaintenanceMode {
				status = http.StatusTeapot // load balancers look at it
			}
			return stated{status, n}, err
		}).typed(nil, typeOf[control.Node]()),
		get(server, "/octopusservernodes/{id}", access.SignedIn, "", func(c *call) (control.Node, error) { return c.control.GetNode(c.ctx, c.id()) }),
		send(http.MethodPut, http.StatusOK, server, "/octopusservernodes/{id}", access.ConfigureServer, "", func(c *call, in NodeSettings) (control.Node, error) {
			return c.control.SetNode(c.ctx, c.id(), in.MaxConcurrentTasks, in.IsInMaintenanceMode)
		}),
		act(http.MethodDelete, server, "/octopusservernodes/{id}", access.ConfigureServer, "", func(c *call) (empty, error) { return empty{}, c.control.DeleteNode(c.ctx, c.id()) }),
		get(server, "/octopusservernodes/{id}/details", access.SignedIn, "", func(c *call) (NodeDetails, error) {
			n, err := c.control.GetNode(c.ctx, c.id())
			return NodeDetails{n.Id, n.RunningTaskCount, n.Links}, err
		}),
		get(server, "/serverstatus", access.SignedIn, "", func(c *call) (Status, error) {
			return Status{IsDatabaseEncrypted: true, MaximumAvailableVersion: Version, MaximumAvailableVersionCoveredByLicense: Version, Links: map[string]string{
				"Self": "/api/serverstatus", "Health": "/api/serverstatus/health",
			}}, nil
		}),
		get(server, "/serverstatus/health", access.Anonymous, "", func(c *call) (stated, error) {
			all, err := c.control.Nodes(c.ctx)
			if err != nil {
				return stated{}, err
			}
			working := slices.ContainsFunc(all, func(n control.Node) bool { return !n.IsOffline && !n.IsInMaintenanceMode })
			h := Health{
				Description: "All is well.", IsOperatingNormally: working, IsEntireClusterDrainingTasks: !working, IsCompliantWithLicense: true, Links: map[string]string{"Self": "/api/serverstatus/health"},
			}
			if !working {
				h.Description = "No node of the cluster takes tasks: all are draining or offline."
				return stated{http.StatusTeapot, h}, nil
			}
			return stated{http.StatusOK, h}, nil
		}).typed(nil, typeOf[Health]()),
		get(server, "/serverstatus/hosted/internal", access.Anonymous, "", func(c *call) (empty, error) {
			_, err := c.control.SpaceOf(c.ctx, "") // ready is: the database answers
			return empty{}, err
		}),
		get(server, "/configuration/certificates", access.SignedIn, "skip take", func(c *call) (resource.Page[Certificate], error) {
			return resource.NewPage("CertificateConfiguration", c.path(), c.asked, 0, resource.DefaultTake, 1, []Certificate{a.certificate()}), nil
		}),
		get(server, "/configuration/certificates/{id}", access.SignedIn, "", func(c *call) (Certificate, error) {
			if !strings.EqualFold(c.id(), "certificate-global") {
				return Certificate{}, fault.NotFoundf("The resource '%s' was not found.", c.id())
			}
			return a.certificate(), nil
		}),
		get(server, "/configuration/feature-toggles", access.SignedIn, "name", func(c *call) (map[string]any, error) {
			return map[string]any{"FeatureToggles": control.Toggles(c.args("name"))}, nil
		}),
		get(server, "/capabilities", access.SignedIn, "", func(c *call) (map[string][]string, error) {
			return map[string][]string{"Capabilities": capabilities}, nil
		}),
		get(server, "/capabilities/{name}", access.SignedIn, "", func(c *call) (map[string]bool, error) {
			name := c.r.PathValue("name")
			if !slices.ContainsFunc(capabilities, func(s string) bool { return strings.EqualFold(s, name) }) {
				return nil, fault.NotFoundf("The resource '%s' was not found.", name)
			}
			return map[string]bool{"Exists": true}, nil
		}),
		send(http.MethodPost, http.StatusOK, server, "/token/v1", access.Anonymous, "", func(c *call, in TokenRequest) (stated, error) {
			// Service accounts have no OIDC identities yet, so no token can be exchanged; the form of the refusal is RFC 8693's.
			text := "The service account '" + in.Audience + "' has no OpenID Connect identity that matches the token. Use an API key instead."
			if in.GrantType != "urn:ietf:params:oauth:grant-type:token-exchange" {
				return stated{http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type", "error_description": "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange."}}, nil
			}
			return stated{http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": text}}, nil
		}).typed(typeOf[TokenRequest](), typeOf[map[string]string]()),
	}
}

func (a *API) certificate() Certificate {
	return Certificate{
		Id: "certificate-global", Name: "Global certificate", Thumbprint: a.control.Served.Thumbprint, CertificateData: a.control.Served.Certificate, SignatureAlgorithm: "sha256RSA", Links: map[string]string{"Self": "/api/configuration/certificates/certificate-global"},
	}
}
