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
	return slices.Concat(a.nodeRoutes(), a.statusRoutes(), a.schedulerRoutes(), []route{
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
	})
}

func (a *API) certificate() Certificate {
	return Certificate{
		Id: "certificate-global", Name: "Global certificate", Thumbprint: a.control.Served.Thumbprint, CertificateData: a.control.Served.Certificate, SignatureAlgorithm: "sha256RSA", Links: map[string]string{"Self": "/api/configuration/certificates/certificate-global"},
	}
}
