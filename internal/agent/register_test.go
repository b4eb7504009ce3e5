//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/halibut"
)

// restServer plays a server's REST API as tentacle-protocol.md 3 describes it.
type restServer struct {
	*httptest.Server
	identity *halibut.Identity
	machines []map[string]any
	v2       bool // has environments/v2
}

func newRestServer(t *testing.T) *restServer {
	t.Helper()
	id, err := halibut.NewIdentity("server")
	if err != nil {
		t.Fatal(err)
	}
	s := &restServer{identity: id}
	page := func(items ...map[string]any) any {
		return map[string]any{"Items": items, "Links": map[string]string{}, "TotalResults": len(items)}
	}
	const api = "/octopus/api"
	mux := http.NewServeMux()
	give := func(pattern string, body func(*http.Request) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, answer := http.StatusUnauthorized, any(map[string]any{"ErrorMessage": "Who are you?"})
			if r.Header.Get("X-Octopus-ApiKey") == "API-GOOD" {
				status, answer = body(r)
			}
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	fixed := func(pattern string, answer any) {
		give(pattern, func(*http.Request) (int, any) { return 200, answer })
	}
	fixed("GET "+api, map[string]any{"Version": "2026.4.1", "ApiVersion": "3.0.0", "Links": map[string]string{
		"CurrentUser": api + "/users/me", "CertificateConfiguration": api + "/configuration/certificates{/id}{?skip,take}",
	}})
	fixed("GET "+api+"/users/me", map[string]any{"Id": "Users-1", "Links": map[string]string{"Spaces": api + "/users/Users-1/spaces"}})
	fixed("GET "+api+"/users/Users-1/spaces", []any{
		map[string]any{"Id": "Spaces-1", "Name": "Default", "IsDefault": true, "Links": map[string]string{"SpaceHome": api + "/Spaces-1"}},
		map[string]any{"Id": "Spaces-2", "Name": "Second", "Links": map[string]string{"SpaceHome": api + "/{Id}"}},
	})
	for _, space := range []string{"Spaces-1", "Spaces-2"} {
		base := api + "/" + space
		links := map[string]string{}
		for name, path := range map[string]string{
			"Machines": "machines", "Workers": "workers", "MachinePolicies": "machinepolicies", "Proxies": "proxies",
			"Environments": "environments", "Tenants": "tenants", "TagSets": "tagsets", "WorkerPools": "workerpools",
		} {
			links[name] = base + "/" + path + "{/id}{?skip,take,name,ids}"
		}
		fixed("GET "+base, map[string]any{"Links": links})
		give("GET "+base+"/machines", func(r *http.Request) (int, any) {
			var found []map[string]any
			for _, m := range s.machines {
				if m["SpaceId"] == space && strings.EqualFold(m["Name"].(string), r.URL.Query().Get("name")) {
					found = append(found, m)
				}
			}
			return 200, page(found...)
		})
		save := func(r *http.Request, id string) (int, any) {
			var m map[string]any
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				return 400, map[string]any{"ErrorMessage": "No JSON", "Errors": []string{err.Error()}}
			}
			m["Id"], m["Links"] = id, map[string]string{"Self": base + "/machines/" + id}
			s.machines = append(slices.DeleteFunc(s.machines, func(o map[string]any) bool { return o["Id"] == id }), m)
			return 201, m
		}
		give("POST "+base+"/machines", func(r *http.Request) (int, any) { return save(r, "Machines-7") })
		give("POST "+base+"/workers", func(r *http.Request) (int, any) { return save(r, "Workers-3") })
		fixed("GET "+base+"/workers", page())
		give("PUT "+base+"/machines/{id}", func(r *http.Request) (int, any) { return save(r, r.PathValue("id")) })
		give("GET "+base+"/machines/{id}", func(r *http.Request) (int, any) {
			for _, m := range s.machines {
				if m["Id"] == r.PathValue("id") {
					return 200, m
				}
			}
			return 404, map[string]any{"ErrorMessage": "Gone"}
		})
		fixed("GET "+base+"/machinepolicies", page(map[string]any{"Id": "MachinePolicies-1", "Name": "Default Machine Policy"}))
		fixed("GET "+base+"/workerpools", page(map[string]any{"Id": "WorkerPools-1", "Name": "Linux", "Slug": "linux"}))
		fixed("GET "+base+"/tenants", page(map[string]any{"Id": "Tenants-1", "Name": "Acme"}))
		fixed("GET "+base+"/tagsets", page(map[string]any{"Id": "TagSets-1", "Name": "Ring", "Tags": []any{map[string]any{"CanonicalTagName": "Ring/Early"}}}))
		give("GET "+base+"/environments", func(r *http.Request) (int, any) {
			if r.URL.Query().Get("skip") == "" {
				return 200, map[string]any{"Items": []any{map[string]any{"Id": "Environments-1", "Name": "Test"}}, "Links": map[string]string{"Page.Next": base + "/environments?skip=1"}}
			}
			return 200, page(map[string]any{"Id": "Environments-2", "Name": "Production", "Slug": "production"})
		})
		give("GET "+base+"/environments/v2", func(*http.Request) (int, any) {
			if !s.v2 {
				return 404, map[string]any{"ErrorMessage": "No such route"}
			}
			return 200, map[string]any{"Items": []any{map[string]any{"Id": "Environments-9", "Name": "Production"}}}
		})
	}
	fixed("GET "+api+"/configuration/certificates/certificate-global", map[string]any{"Id": "certificate-global", "Thumbprint": id.Thumbprint})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *restServer) registration() Registration {
	return Registration{
		Server: s.URL + "/octopus/", APIKey: "API-GOOD", Name: "web01", Environments: []string{"production"}, Roles: []string{"web"},
		PublicHostName: "web01.example.com",
	}
}

func identity(t *testing.T, data string) *halibut.Identity {
	t.Helper()
	id, err := LoadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestRegisterListening(t *testing.T) {
	s := newRestServer(t)
	data := t.TempDir()
	id := identity(t, data)
	r := s.registration()
	r.Space, r.Policy, r.Tenants, r.TenantTags = "second", "default machine policy", []string{"acme"}, []string{"Ring/Early"}
	done, err := Register(t.Context(), data, id, r)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Registered{"Machines-7", "Second", s.identity.Thumbprint}, done); d != "" {
		t.Error(d)
	}
	want := map[string]any{
		"Name": "web01", "SpaceId": "Spaces-2", "IsDisabled": false, "SkipInitialHealthCheck": false, "MachinePolicyId": "MachinePolicies-1",
		"EnvironmentIds": []any{"Environments-2"}, "Roles": []any{"web"}, "TenantIds": []any{"Tenants-1"}, "TenantTags": []any{"Ring/Early"},
		"TenantedDeploymentParticipation": "Tenanted",
		"Endpoint": map[string]any{
			"CommunicationStyle": "TentaclePassive", "Uri": "https://web01.example.com:10933/", "Thumbprint": id.Thumbprint, "ProxyId": nil,
		},
	}
	got := s.machines[0]
	delete(got, "Id")
	delete(got, "Links")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	settings, err := LoadSettings(data)
	if d := cmp.Diff([]Server{{Thumbprint: s.identity.Thumbprint, CommunicationStyle: Passive}}, settings.Servers); d != "" || err != nil {
		t.Error(d, err)
	}
}

func TestRegisterAgain(t *testing.T) {
	s := newRestServer(t)
	s.v2 = true
	data := t.TempDir()
	r := s.registration()
	if _, err := Register(t.Context(), data, identity(t, data), r); err != nil {
		t.Fatal(err)
	}
	if _, err := Register(t.Context(), data, identity(t, data), r); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a name was taken twice: %v", err)
	}
	s.machines[0]["Unknown"] = "kept"
	r.Force, r.Roles = true, []string{"db"}
	if _, err := Register(t.Context(), data, identity(t, data), r); err != nil {
		t.Fatal(err)
	}
	if m := s.machines[0]; len(s.machines) != 1 || m["Unknown"] != "kept" || m["Roles"].([]any)[0] != "db" || m["EnvironmentIds"].([]any)[0] != "Environments-9" {
		t.Errorf("%v", s.machines)
	}
}

// pollingPort is a server's port for polling agents.
func pollingPort(t *testing.T, id *halibut.Identity) (host string, port int) {
	t.Helper()
	l := halibut.NewListener(halibut.ListenerConfig{
		Identity: id, Polls: halibut.NewPolls(halibut.PollsConfig{}), Log: quietLog,
		Authorize: func(context.Context, halibut.Peer) error { return nil },
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = l.Serve(ctx, ln) })
	t.Cleanup(func() { stop(); served.Wait() })
	return "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
}

func TestRegisterPolling(t *testing.T) {
	s := newRestServer(t)
	data := t.TempDir()
	r := s.registration()
	r.Style, r.PublicHostName = Active, ""
	r.ServerAddress, r.ServerPort = pollingPort(t, s.identity)
	if _, err := AddServer(t.Context(), data, r); err == nil || !strings.Contains(err.Error(), "register-with") {
		t.Errorf("poll-server before register-with: %v", err)
	}
	if _, err := Register(t.Context(), data, identity(t, data), r); err != nil {
		t.Fatal(err)
	}
	settings, err := LoadSettings(data)
	if err != nil || len(settings.Servers) != 1 {
		t.Fatal(settings, err)
	}
	first := settings.Servers[0]
	endpoint := s.machines[0]["Endpoint"].(map[string]any)
	if endpoint["Uri"] != first.SubscriptionId || endpoint["CommunicationStyle"] != "TentacleActive" || settings.Listens() {
		t.Errorf("%v %v", endpoint, first)
	}
	if _, err := halibut.NormalSubscription(first.SubscriptionId); err != nil || len(first.SubscriptionId) != 28 {
		t.Error(first.SubscriptionId, err)
	}
	_, r.ServerPort = pollingPort(t, s.identity) // a second node
	added, err := AddServer(t.Context(), data, r)
	if err != nil || added.SubscriptionId != first.SubscriptionId || added.Address == first.Address {
		t.Errorf("%v %v", added, err)
	}
	stranger, err := halibut.NewIdentity("stranger")
	if err != nil {
		t.Fatal(err)
	}
	_, r.ServerPort = pollingPort(t, stranger)
	r.Force = true
	if _, err := Register(t.Context(), data, identity(t, data), r); err == nil || !strings.Contains(err.Error(), "pass-through") {
		t.Errorf("another certificate was taken: %v", err)
	}
}

func TestRegisterWorker(t *testing.T) {
	s := newRestServer(t)
	data := t.TempDir()
	r := s.registration()
	r.WorkerPools, r.Environments, r.Roles = []string{"linux"}, nil, nil
	done, err := Register(t.Context(), data, identity(t, data), r)
	if err != nil || done.MachineID != "Workers-3" || s.machines[0]["WorkerPoolIds"].([]any)[0] != "WorkerPools-1" {
		t.Errorf("%v %v", done, err)
	}
}

// Every mistake is answered with the way out.
func TestRegisterMistakes(t *testing.T) {
	s := newRestServer(t)
	data := t.TempDir()
	for want, change := range map[string]func(*Registration){
		"does not accept this API key":      func(r *Registration) { r.APIKey = "API-BAD" },
		"begins with API-":                  func(r *Registration) { r.APIKey = "" },
		"an address like https":             func(r *Registration) { r.Server = "octavo.example.com" },
		"cannot be reached":                 func(r *Registration) { r.Server = "http://127.0.0.1:1" },
		"there are: Default, Second":        func(r *Registration) { r.Space = "third" },
		"there are: Test, Production":       func(r *Registration) { r.Environments = []string{"Prod"} },
		"--role is needed":                  func(r *Registration) { r.Roles = nil },
		"Set/Tag":                           func(r *Registration) { r.TenantTags = []string{"Early"} },
		`there are: Default Machine Policy`: func(r *Registration) { r.Policy = "x" },
		"--comms-style is TentaclePassive":  func(r *Registration) { r.Style = "Polling" },
		"is for polling":                    func(r *Registration) { r.ServerAddress = "x" },
	} {
		r := s.registration()
		change(&r)
		_, err := Register(t.Context(), data, identity(t, data), r)
		want = strings.ReplaceAll(want, "Set/Tag", "Tag set/Tag")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if len(s.machines) != 0 {
		t.Error("something was registered")
	}
	if settings, _ := LoadSettings(data); len(settings.Servers) != 0 {
		t.Error("a refused registration left trust behind")
	}
}

func TestExpand(t *testing.T) {
	for link, want := range map[string]string{
		"/api/x{/id}{?skip,take,name}": "/api/x/a%20b?name=n%26m", "/api/x{?skip}": "/api/x", "/x?y=1{&name}": "/x?y=1&name=n%26m", "/api/{id}/y": "/api/a%20b/y",
	} {
		if got := expand(link, map[string]string{"id": "a b", "name": "n&m"}); got != want {
			t.Errorf("%s: %s, want %s", link, got, want)
		}
	}
}

func TestPollAddress(t *testing.T) {
	for want, r := range map[string]Registration{
		"o.example.com:10943": {Server: "https://o.example.com/octopus"},
		"[::1]:10943":         {Server: "http://[::1]:8080"},
		"lb.example.com:443":  {Server: "https://o", ServerAddress: "https://lb.example.com"},
		"lb:1":                {Server: "https://o", ServerAddress: "https://lb:1/"},
		"lb:2":                {Server: "https://o", ServerAddress: "lb:1", ServerPort: 2},
	} {
		if got, err := r.pollAddress(); got != want || err != nil {
			t.Errorf("%s, want %s: %v", got, want, err)
		}
	}
}
