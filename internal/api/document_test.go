package api_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/octavo/octavo/internal/deployment"
)

// document is the server's own OpenAPI document, and how its paths are found again.
type document struct {
	doc   *openapi3.T
	paths []documentPath
}

type documentPath struct {
	form *regexp.Regexp
	path string
	item *openapi3.PathItem
}

var shared struct {
	sync.Mutex
	*document
}

// documentOf reads the document once; it is the same for every server.
func documentOf(t *testing.T, handler http.Handler) *document {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.document != nil {
		return shared.document
	}
	q := newRequest(t, "GET", "/api/swagger.json")
	w := record(handler, q)
	doc, err := openapi3.NewLoader().LoadFromData(w)
	must(t, err)
	must(t, doc.Validate(t.Context()))
	d := &document{doc: doc}
	for _, path := range doc.Paths.InMatchingOrder() {
		form := regexp.QuoteMeta(path)
		form = strings.Replace(form, `/api/\{spaceId\}/`, `/api/`, 1)
		if path != "/api/{spaceId}" {
			form = strings.Replace(form, `/api/`, `/api(?:/spaces/[^/]+|/spaces-\d+)?/`, 1)
		}
		form = strings.Replace(form, `\{spaceId\}`, `spaces-\d+`, 1)
		form = regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(form, `[^/]+`)
		d.paths = append(d.paths, documentPath{regexp.MustCompile(`(?i)^` + form + `/?$`), path, doc.Paths.Value(path)})
	}
	// Paths without parameters first: "all" is not an id.
	sort.SliceStable(d.paths, func(i, j int) bool { return strings.Count(d.paths[i].path, "{") < strings.Count(d.paths[j].path, "{") })
	return d
}

// check holds an answer against the document: lists and maps that are null, and members of a wrong type, are found here.
func (d *document) check(t *testing.T, method, path string, a answer) {
	t.Helper()
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		if a.status >= 400 {
			t.Errorf("%s %s: %d is not JSON", method, path, a.status)
		}
		return
	}
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return
	}
	for _, p := range d.paths {
		if !p.form.MatchString(path) || p.item.GetOperation(method) == nil {
			continue
		}
		op := p.item.GetOperation(method)
		answer := op.Responses.Value("default")
		if a.status < 400 || a.status == http.StatusTeapot {
			for code, r := range op.Responses.Map() {
				if code != "default" {
					answer = r
				}
			}
		}
		content := answer.Value.Content.Get("application/json")
		if content == nil || strings.HasSuffix(path, "/token/v1") {
			return
		}
		if err := content.Schema.Value.VisitJSON(v); err != nil {
			t.Errorf("%s %s does not fit the document: %v\n%s", method, path, err, a.body)
		}
		nulls(t, method+" "+path, "", v)
		return
	}
	if a.status < 400 {
		t.Errorf("%s %s is not in the document", method, path)
	}
}

// nulls finds links that are no texts, and properties that are null, which clients read as something else.
func nulls(t *testing.T, what, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if _, text := e.(string); !text && (at == "Links" || at == "Properties" && e == nil) {
				t.Errorf("%s: %s.%s is %v", what, at, k, e)
			}
			nulls(t, what, k, e)
		}
	case []any:
		for _, e := range v {
			nulls(t, what, at, e)
		}
	}
}

func TestEveryReadFitsTheDocument(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		c.post("/api/releases/create/v1", m{"ProjectName": "Web"})
		deployed := c.post("/api/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "EnvironmentNames": []any{"Development"}})
		task := deployed.text("DeploymentServerTasks.0.ServerTaskId")
		pool := c.get("/api/workerpools/all").list()[0].(m)["Id"].(string)
		c.post("/api/workers", m{"Name": "w1", "WorkerPoolIds": []any{pool}, "Endpoint": m{"CommunicationStyle": "None"}})
		c.post("/api/accounts", m{"Name": "a", "AccountType": "UsernamePassword", "Username": "u", "Password": m{"HasValue": true, "NewValue": "hush"}})
		c.post("/api/tenants", m{"Name": "T"})
		c.post("/api/tagsets", m{"Name": "Regions", "Tags": []any{m{"Name": "South"}}})
		c.post("/api/proxies", m{"Name": "p", "Host": "proxy", "Port": 8080})
		c.put("/api/interruptions/"+c.ask(task, deployment.ManualIntervention)+"/responsible", "null")
		startNode(c)
		c.bringAgent("a program")
		ids := map[string]string{
			"spaces": "Spaces-1", "teams": "teams-administrators", "environments": w.dev, "projectgroups": "ProjectGroups-1", "lifecycles": "Lifecycles-1", "projects": w.project, "deploymentprocesses": w.process,
			"variables": w.variables, "channels": "Channels-1", "feeds": "feeds-builtin", "accounts": "Accounts-1", "machines": "Machines-1", "workers": "Workers-1", "workerpools": pool,
			"machinepolicies": "MachinePolicies-1", "tenants": "Tenants-1", "tagsets": "TagSets-1", "proxies": "Proxies-1", "users": "Users-1", "releases": "Releases-1", "deployments": "Deployments-1",
			"tasks": task, "packages": "packages-Acme.Web.1.0.0", "octopusservernodes": "OctopusServerNodes-n1", "scheduler": "Sweep", "configuration": "certificate-global", "interruptions": "Interruptions-1",
		}
		queries := map[string]string{"/versions": "?packageId=Acme.Web", "/discover": "?host=127.0.0.1&port=1"}
		key := c.get("/api/users/me/apikeys").text("Items.0.Id")
		seen := 0
		for _, p := range c.document.paths {
			if p.item.Get == nil {
				continue
			}
			path := strings.NewReplacer("{spaceId}", "Spaces-1", "{platform}", platform, "{version}", "0.0.1", "{name}", "GetAllSpacesRequest", "{key}", key).Replace(p.path)
			rest := strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/Spaces-1")
			path = strings.Replace(path, "{id}", ids[strings.Split(strings.Trim(rest, "/"), "/")[0]], 1)
			for end, query := range queries {
				if strings.HasSuffix(path, end) {
					path += query
				}
			}
			if strings.HasSuffix(path, "/follow") { // which ends with the task
				c.post("/api/tasks/"+task+"/cancel", nil)
			}
			a := c.try("GET", path, nil)
			want := a.status == 200 || strings.HasSuffix(p.path, "/discover") && a.status == 400
			if !want {
				t.Errorf("GET %s: %d %s", path, a.status, a.body)
			}
			if strings.Contains(string(a.body), "SecretId") || strings.Contains(string(a.body), "hush") || strings.Contains(string(a.body), "Secrets-") {
				t.Errorf("GET %s shows a secret: %s", path, a.body)
			}
			seen++
		}
		if seen < 90 {
			t.Errorf("only %d reads", seen)
		}
	})
}

func TestEveryRouteWantsAPermission(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		nobody := *c
		nobody.key = ""
		open := map[string]bool{
			"GET /api": true, "GET /.well-known/openid-configuration": true, "POST /api/token/v1": true, "GET /api/octopusservernodes/ping": true, "GET /api/serverstatus/health": true, "GET /api/serverstatus/hosted/internal": true,
			"GET /livez": true, "GET /readyz": true, "GET /agent/install.sh": true, "GET /agent/octavo-agent.service": true,
			"GET /agent/{platform}/octavo-agent": true, "GET /agent/{platform}/octavo-agent.sha256": true,
		}
		for _, p := range c.document.paths {
			for method, op := range p.item.Operations() {
				if !strings.HasPrefix(op.Description, "Permission: ") {
					t.Errorf("%s %s names no permission", method, p.path)
				}
				if open[method+" "+p.path] {
					continue
				}
				path := strings.NewReplacer("{spaceId}", "Spaces-1", "{id}", "x", "{version}", "1", "{key}", "k", "{name}", "n").Replace(p.path)
				if a := nobody.try(method, path, nil); a.status != 401 {
					t.Errorf("%s %s without a key: %d", method, path, a.status)
				}
			}
		}
	})
}
