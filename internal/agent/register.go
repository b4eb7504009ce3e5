//go:build unix

package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
)

// Registration is what register-with asks a server for (tentacle-protocol.md 3). Lists take names, slugs or ids.
type Registration struct {
	Server, APIKey, Space string
	Name, Policy, Proxy   string
	Environments, Roles   []string
	Tenants, TenantTags   []string
	Participation         string   // Untenanted, TenantedOrUntenanted, Tenanted; "" follows from Tenants and TenantTags
	WorkerPools           []string // not empty: a worker instead of a target
	Force                 bool
	Style                 CommunicationStyle
	PublicHostName        string // Passive: where the server reaches us
	Port                  int    // Passive: the port there; 0 is the one we listen on
	ServerAddress         string // Active: where we reach the server; "" is the host of Server
	ServerPort            int    // Active: 0 is 10943, or what ServerAddress says
	SkipHealthCheck       bool
}

// Registered tells what was done.
type Registered struct{ MachineID, Space, Thumbprint string }

// Register makes the agent of a data directory known to a server, and trusts that server.
func Register(ctx context.Context, data string, id *halibut.Identity, r Registration) (Registered, error) {
	if err := r.check(); err != nil {
		return Registered{}, err
	}
	s, err := LoadSettings(data)
	if err != nil {
		return Registered{}, err
	}
	c, err := newRestClient(r.Server, r.APIKey)
	if err != nil {
		return Registered{}, err
	}
	var polled Server
	var shown string
	if r.Style == Active {
		if polled.Address, err = r.pollAddress(); err != nil {
			return Registered{}, err
		}
		if shown, err = probe(ctx, polled.Address); err != nil {
			return Registered{}, err
		}
	}
	root, err := c.root(ctx)
	if err != nil {
		return Registered{}, err
	}
	space, err := c.space(ctx, root, r.Space)
	if err != nil {
		return Registered{}, err
	}
	thumbprint, err := c.serverThumbprint(ctx, root)
	if err != nil {
		return Registered{}, err
	}
	if r.Style == Active && !strings.EqualFold(shown, thumbprint) {
		return Registered{}, fault.InvalidField("server-comms-address", "What answers at %s has the certificate %s, but the server's is %s: another server is there, or something between ends its TLS. Only TCP pass-through works.",
			polled.Address, shown, thumbprint)
	}
	endpoint := map[string]any{"CommunicationStyle": r.Style, "Thumbprint": id.Thumbprint}
	if r.Style == Active {
		polled.Thumbprint, polled.SubscriptionId = thumbprint, s.subscription(thumbprint)
		endpoint["Uri"] = polled.SubscriptionId
	} else {
		if endpoint["Uri"], err = r.publicURI(s); err != nil {
			return Registered{}, err
		}
		endpoint["ProxyId"] = nil
		if r.Proxy != "" {
			proxy, err := c.find(ctx, space, "Proxies", "proxy", r.Proxy)
			if err != nil {
				return Registered{}, err
			}
			endpoint["ProxyId"] = proxy.ID
		}
	}
	wanted, err := c.describe(ctx, space, r, endpoint)
	if err != nil {
		return Registered{}, err
	}
	// Trust comes first: the server checks the machine's health as soon as it knows it.
	err = UpdateSettings(data, func(s *Settings) error {
		if r.Style == Active {
			s.PollAt(polled)
			if len(r.WorkerPools) > 0 && s.PollingConnections == 0 {
				s.PollingConnections = max(5, runtime.NumCPU()) // a worker does more than one thing at a time (tentacle-protocol.md 1.7)
			}
		} else {
			s.Trust(thumbprint)
		}
		return nil
	})
	if err != nil {
		return Registered{}, err
	}
	var saved resource
	if err := c.call(ctx, wanted.method, wanted.link, wanted.machine, &saved); err != nil {
		return Registered{}, err
	}
	return Registered{saved.ID, space.Name, thumbprint}, nil
}

// AddServer adds one more node of a server that this agent polls already (tentacle-protocol.md 3.4).
func AddServer(ctx context.Context, data string, r Registration) (Server, error) {
	address, err := r.pollAddress()
	if err != nil {
		return Server{}, err
	}
	c, err := newRestClient(r.Server, r.APIKey)
	if err != nil {
		return Server{}, err
	}
	if _, err := probe(ctx, address); err != nil {
		return Server{}, err
	}
	root, err := c.root(ctx)
	if err != nil {
		return Server{}, err
	}
	thumbprint, err := c.serverThumbprint(ctx, root)
	if err != nil {
		return Server{}, err
	}
	added := Server{Thumbprint: thumbprint, Address: address}
	err = UpdateSettings(data, func(s *Settings) error {
		i := slices.IndexFunc(s.Servers, func(known Server) bool {
			return known.CommunicationStyle == Active && strings.EqualFold(known.Thumbprint, thumbprint)
		})
		if i < 0 {
			return fault.Invalidf("This agent polls no server with the certificate %s yet; `register-with --comms-style TentacleActive` comes first.", thumbprint)
		}
		added.SubscriptionId = s.Servers[i].SubscriptionId
		s.PollAt(added)
		return nil
	})
	return added, err
}

func (r *Registration) check() error {
	var mistakes fault.List
	if r.Style == "" {
		r.Style = Passive
	}
	if r.Style != Passive && r.Style != Active {
		mistakes.Add("--comms-style is %s (the server dials this machine) or %s (this machine dials the server); %q is neither.", Passive, Active, r.Style)
	}
	if r.Name == "" {
		mistakes.Add("--name is needed: how the server shall call this machine.")
	}
	if len(r.WorkerPools) == 0 {
		if len(r.Environments) == 0 {
			mistakes.Add("--environment is needed at least once: where this machine belongs.")
		}
		if len(r.Roles) == 0 {
			mistakes.Add("--role is needed at least once: which steps run on this machine.")
		}
	}
	if r.Style == Passive && r.ServerAddress != "" {
		mistakes.Add("--server-comms-address is for polling; add --comms-style %s, or leave it out.", Active)
	}
	if r.Style == Active && r.PublicHostName != "" {
		mistakes.Add("--public-hostname is for listening; add --comms-style %s, or leave it out.", Passive)
	}
	switch {
	case r.Participation == "" && len(r.Tenants)+len(r.TenantTags) > 0:
		r.Participation = "Tenanted"
	case r.Participation == "":
		r.Participation = "Untenanted"
	case !slices.Contains([]string{"Untenanted", "TenantedOrUntenanted", "Tenanted"}, r.Participation):
		mistakes.Add("--tenanted-deployment-participation is Untenanted, TenantedOrUntenanted or Tenanted; %q is none of them.", r.Participation)
	}
	return mistakes.Err()
}

// pollAddress is where the server takes polling agents.
func (r *Registration) pollAddress() (string, error) {
	from, port := r.ServerAddress, 443 // an address without a port is a load balancer's
	if from == "" {
		u, err := url.Parse(r.Server)
		if err != nil || u.Hostname() == "" {
			return "", fault.InvalidField("server", "--server is an address like https://octavo.example.com; %q is none.", r.Server)
		}
		from, port = u.Hostname(), 10943
	}
	if strings.Contains(from, ":") && net.ParseIP(from) != nil {
		from = "[" + from + "]"
	}
	address, err := halibut.ParseAddress(from, port)
	if err != nil {
		return "", fault.InvalidField("server-comms-address", "--server-comms-address is like https://octavo.example.com:10943: %v.", err)
	}
	if r.ServerPort != 0 {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return "", fault.InvalidField("server-comms-address", "%v", err)
		}
		address = net.JoinHostPort(host, strconv.Itoa(r.ServerPort))
	}
	return address, nil
}

func (r *Registration) publicURI(s Settings) (string, error) {
	port := strconv.Itoa(r.Port)
	if r.Port == 0 {
		_, own, err := net.SplitHostPort(s.Listen)
		if err != nil || own == "0" {
			return "", fault.InvalidField("port", "--port is needed, because the agent's listening address %q does not tell it.", s.Listen)
		}
		port = own
	}
	if r.PublicHostName == "" {
		return "", fault.InvalidField("public-hostname", "--public-hostname is needed: the name or address under which the server reaches this machine.")
	}
	return "https://" + net.JoinHostPort(strings.Trim(r.PublicHostName, "[]"), port) + "/", nil
}

// subscription is the id under which a server knows us, or a new one.
func (s *Settings) subscription(thumbprint string) string {
	for _, known := range s.Servers {
		if known.CommunicationStyle == Active && strings.EqualFold(known.Thumbprint, thumbprint) {
			return known.SubscriptionId
		}
	}
	return "poll://" + strings.ToLower(rand.Text()[:20]) + "/"
}

// probe asks whether the port for polling agents is open, and tells the certificate that is shown there (tentacle-protocol.md 1.18).
func probe(ctx context.Context, address string) (thumbprint string, err error) {
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // the thumbprint is compared by the caller
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for try := 1; ; try++ {
		var request *http.Request
		if request, err = http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/handshake", http.NoBody); err != nil {
			return "", fault.InvalidField("server-comms-address", "%q is not an address: %v.", address, err)
		}
		var answer *http.Response
		if answer, err = client.Do(request); err == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
			err = errors.Join(err, answer.Body.Close())
			if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusBadRequest {
				thumbprint, _ = halibut.Thumbprints(answer.TLS.PeerCertificates[0].Raw)
				return thumbprint, nil
			}
			err = errors.Join(err, fmt.Errorf("it answered %s", answer.Status))
		}
		if try == 5 || ctx.Err() != nil {
			return "", fault.Because(fault.InvalidField("server-comms-address",
				"The server's port for polling agents cannot be reached at %s: %v. Is --comms-listen on there, and does a firewall let this machine through?", address, err), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// restClient follows a server's links.
type restClient struct {
	base *url.URL
	key  string
	http *http.Client
}

// resource is what all resources share, as far as we need it.
type resource struct {
	ID    string `json:"Id"`
	Name  string
	Slug  string
	Links map[string]string
}

func newRestClient(server, key string) (*restClient, error) {
	u, err := url.Parse(strings.TrimSuffix(server, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fault.InvalidField("server", "--server is an address like https://octavo.example.com; %q is none.", server)
	}
	if !strings.HasPrefix(key, "API-") {
		return nil, fault.InvalidField("apiKey", "--apiKey is needed; it begins with API-. The portal makes one under your profile. OCTAVO_API_KEY in the environment keeps it off the command line.")
	}
	return &restClient{u, key, &http.Client{Timeout: time.Minute}}, nil
}

var template = regexp.MustCompile(`\{([?&/]?)([^}]*)\}`)

// expand fills a link's template; members it does not name are left out (tentacle-protocol.md 3.1).
func expand(link string, values map[string]string) string {
	query := url.Values{}
	path := template.ReplaceAllStringFunc(link, func(part string) string {
		m := template.FindStringSubmatch(part)
		filled := ""
		for _, name := range strings.Split(m[2], ",") {
			value, ok := values[name]
			switch {
			case !ok:
			case m[1] == "?" || m[1] == "&":
				query.Set(name, value)
			case m[1] == "/":
				filled += "/" + url.PathEscape(value)
			default:
				filled += url.PathEscape(value)
			}
		}
		return filled
	})
	switch {
	case len(query) == 0:
		return path
	case strings.Contains(path, "?"):
		return path + "&" + query.Encode()
	}
	return path + "?" + query.Encode()
}

// errNotThere is a 404: some answers are optional.
var errNotThere = errors.New("not found")

func (c *restClient) call(ctx context.Context, method, link string, body, into any) error {
	var target string
	if rest, ok := strings.CutPrefix(link, "~/"); ok {
		target = c.base.String() + "/" + rest
	} else if u, err := c.base.Parse(link); err == nil && link != "" {
		target = u.String()
	} else {
		return fmt.Errorf("the server gave no usable link (%q)", link)
	}
	var content io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return err
	}
	if request.URL.Host != c.base.Host {
		return fmt.Errorf("the server at %s sends us to %s; the API key stays here", c.base.Host, request.URL.Host)
	}
	request.Header.Set("X-Octopus-ApiKey", c.key)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return unreachable(c.base, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err != nil {
		return unreachable(c.base, err)
	}
	if answer.StatusCode >= 300 {
		return refusal(answer.StatusCode, method, target, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fault.Because(fault.InvalidField("server", "%s does not answer like an Octopus or Octavo server: %s %s gave no JSON. Is the address right?", c.base, method, target), err)
	}
	return nil
}

func unreachable(server *url.URL, err error) error {
	hint := "Is the address right, and does a firewall let this machine through?"
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		hint = "This machine does not trust who signed its HTTPS certificate; SSL_CERT_FILE names a file with certificates to trust."
	}
	return fault.Because(fault.InvalidField("server", "The server %s cannot be reached: %v. %s", server, err, hint), err)
}

func refusal(status int, method, target string, text []byte) error {
	var said struct {
		ErrorMessage string
		Errors       []string
	}
	_ = json.Unmarshal(text, &said) // proxies answer otherwise
	reasons := strings.Join(append([]string{said.ErrorMessage}, said.Errors...), " ")
	switch status {
	case http.StatusUnauthorized:
		return fault.InvalidField("apiKey", "The server does not accept this API key: it is wrong, or was revoked, or has expired. %s", reasons)
	case http.StatusForbidden:
		return fault.Deniedf("The owner of this API key may not do that. %s", reasons)
	case http.StatusNotFound:
		return fmt.Errorf("%s %s: %w. %s", method, target, errNotThere, reasons)
	case http.StatusServiceUnavailable:
		return fault.Busyf("The server is not available now; try again later. %s", reasons)
	}
	return fault.Invalidf("The server refused (%d): %s", status, reasons)
}

// root reads /api, waiting a minute for a server that is starting.
func (c *restClient) root(ctx context.Context) (resource, error) {
	for begun := time.Now(); ; {
		var root struct {
			resource
			Version string
		}
		err := c.call(ctx, http.MethodGet, "~/api", nil, &root)
		if err == nil && root.Links == nil {
			err = fault.InvalidField("server", "%s answers, but not like an Octopus or Octavo server. Is the address right?", c.base)
		}
		if fault.KindOf(err) != fault.Busy || time.Since(begun) > time.Minute {
			return root.resource, err
		}
		select {
		case <-ctx.Done():
			return resource{}, context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
}

// space chooses among the spaces of the key's owner, and gives the space's own links.
func (c *restClient) space(ctx context.Context, root resource, wanted string) (resource, error) {
	var me resource
	if err := c.call(ctx, http.MethodGet, root.Links["CurrentUser"], nil, &me); err != nil {
		return resource{}, err
	}
	var spaces []struct {
		resource
		IsDefault bool
	}
	if err := c.call(ctx, http.MethodGet, expand(me.Links["Spaces"], nil), nil, &spaces); err != nil {
		return resource{}, err
	}
	var names []string
	for _, s := range spaces {
		names = append(names, s.Name)
		if (wanted == "" && s.IsDefault) || (wanted != "" && s.is(wanted)) {
			var home resource
			if err := c.call(ctx, http.MethodGet, expand(s.Links["SpaceHome"], map[string]string{"Id": s.ID, "spaceId": s.ID}), nil, &home); err != nil {
				return resource{}, err
			}
			home.ID, home.Name = s.ID, s.Name
			return home, nil
		}
	}
	if wanted == "" {
		return resource{}, fault.InvalidField("space", "The server has no default space for this user; --space names one of: %s.", strings.Join(names, ", "))
	}
	return resource{}, fault.InvalidField("space", "There is no space %q for this user; there are: %s.", wanted, strings.Join(names, ", "))
}

func (r resource) is(wanted string) bool {
	return strings.EqualFold(r.Name, wanted) || strings.EqualFold(r.ID, wanted) || (r.Slug != "" && strings.EqualFold(r.Slug, wanted))
}

func (c *restClient) serverThumbprint(ctx context.Context, root resource) (string, error) {
	var certificate struct{ Thumbprint string }
	link := expand(root.Links["CertificateConfiguration"], map[string]string{"id": "certificate-global"})
	if err := c.call(ctx, http.MethodGet, link, nil, &certificate); err != nil {
		return "", fmt.Errorf("the server's certificate: %w", err)
	}
	return Thumbprint(certificate.Thumbprint)
}

// all reads every page of a collection.
func (c *restClient) all(ctx context.Context, link string) ([]resource, error) {
	var found []resource
	for link != "" {
		var page struct {
			Items []resource
			Links map[string]string
		}
		if err := c.call(ctx, http.MethodGet, link, nil, &page); err != nil {
			return nil, err
		}
		found = append(found, page.Items...)
		link = page.Links["Page.Next"]
	}
	return found, nil
}

// find looks one resource up by name, slug or id.
func (c *restClient) find(ctx context.Context, space resource, collection, what, wanted string) (resource, error) {
	found, err := c.findAll(ctx, space, collection, what, []string{wanted})
	if err != nil {
		return resource{}, err
	}
	return found[0], nil
}

func (c *restClient) findAll(ctx context.Context, space resource, collection, what string, wanted []string) ([]resource, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	known, err := c.all(ctx, expand(space.Links[collection], nil))
	if err != nil {
		return nil, err
	}
	var found []resource
	for _, w := range wanted {
		i := slices.IndexFunc(known, func(k resource) bool { return k.is(w) })
		if i < 0 {
			var names []string
			for _, k := range known[:min(len(known), 20)] {
				names = append(names, k.Name)
			}
			return nil, fault.InvalidField(what, "There is no %s %q in space %s; there are: %s.", what, w, space.Name, strings.Join(names, ", "))
		}
		found = append(found, known[i])
	}
	return found, nil
}

func ids(found []resource) []string {
	list := []string{}
	for _, f := range found {
		list = append(list, f.ID)
	}
	return list
}

// registration is the one call that changes the server.
type registration struct {
	method, link string
	machine      map[string]any
}

// describe makes the machine to post, or with Force the one of this name to replace.
func (c *restClient) describe(ctx context.Context, space resource, r Registration, endpoint map[string]any) (w registration, err error) {
	collection := "Machines"
	if len(r.WorkerPools) > 0 {
		collection = "Workers"
	}
	w = registration{http.MethodPost, expand(space.Links[collection], nil), map[string]any{}}
	known, err := c.all(ctx, expand(space.Links[collection], map[string]string{"name": r.Name}))
	if err != nil {
		return w, err
	}
	if i := slices.IndexFunc(known, func(k resource) bool { return strings.EqualFold(k.Name, r.Name) }); i >= 0 {
		if !r.Force {
			return w, fault.Conflictf("Space %s has a machine named %q already (%s); --force replaces it, --name chooses another name.", space.Name, r.Name, known[i].ID)
		}
		w.method, w.link = http.MethodPut, known[i].Links["Self"]
		if err := c.call(ctx, http.MethodGet, w.link, nil, &w.machine); err != nil {
			return w, err
		}
	}
	w.machine["Name"], w.machine["SpaceId"], w.machine["Endpoint"] = r.Name, space.ID, endpoint
	w.machine["IsDisabled"], w.machine["SkipInitialHealthCheck"] = false, r.SkipHealthCheck
	if r.Policy != "" {
		policy, err := c.find(ctx, space, "MachinePolicies", "policy", r.Policy)
		if err != nil {
			return w, err
		}
		w.machine["MachinePolicyId"] = policy.ID
	}
	if collection == "Machines" {
		return w, c.describeTarget(ctx, space, r, w.machine)
	}
	pools, err := c.findAll(ctx, space, "WorkerPools", "worker-pool", r.WorkerPools)
	w.machine["WorkerPoolIds"] = ids(pools)
	return w, err
}

func (c *restClient) describeTarget(ctx context.Context, space resource, r Registration, machine map[string]any) error {
	if len(r.TenantTags) > 0 {
		if err := c.checkTags(ctx, space, r.TenantTags); err != nil {
			return err
		}
	}
	environments, err := c.environments(ctx, space, r.Environments)
	if err != nil {
		return err
	}
	tenants, err := c.findAll(ctx, space, "Tenants", "tenant", r.Tenants)
	if err != nil {
		return err
	}
	machine["EnvironmentIds"], machine["Roles"] = ids(environments), r.Roles
	machine["TenantIds"], machine["TenantTags"] = ids(tenants), append([]string{}, r.TenantTags...)
	machine["TenantedDeploymentParticipation"] = r.Participation
	return nil
}

// environments asks the newer list first, as Tentacles do; a server without it answers 404.
func (c *restClient) environments(ctx context.Context, space resource, wanted []string) ([]resource, error) {
	var newer struct{ Items []resource }
	err := c.call(ctx, http.MethodGet, "~/api/"+url.PathEscape(space.ID)+"/environments/v2?skip=0&take=2147483647", nil, &newer)
	if err == nil {
		found := make([]resource, 0, len(wanted))
		for _, w := range wanted {
			if i := slices.IndexFunc(newer.Items, func(k resource) bool { return k.is(w) }); i >= 0 {
				found = append(found, newer.Items[i])
			}
		}
		if len(found) == len(wanted) {
			return found, nil
		}
	} else if !errors.Is(err, errNotThere) {
		return nil, err
	}
	return c.findAll(ctx, space, "Environments", "environment", wanted)
}

func (c *restClient) checkTags(ctx context.Context, space resource, wanted []string) error {
	link := expand(space.Links["TagSets"], nil)
	var known []string
	for link != "" {
		var page struct {
			Items []struct {
				Tags []struct{ CanonicalTagName string }
			}
			Links map[string]string
		}
		if err := c.call(ctx, http.MethodGet, link, nil, &page); err != nil {
			return err
		}
		for _, set := range page.Items {
			for _, tag := range set.Tags {
				known = append(known, tag.CanonicalTagName)
			}
		}
		link = page.Links["Page.Next"]
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, w) }) {
			return fault.InvalidField("tenanttag", "There is no tenant tag %q in space %s; one is written as Tag set/Tag. There are: %s.", w, space.Name, strings.Join(known[:min(len(known), 20)], ", "))
		}
	}
	return nil
}
