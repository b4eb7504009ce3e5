package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoutingForms(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		id := c.post("/api/environments", m{"Name": "Development"}).text("Id")
		for _, path := range []string{
			"/api/environments/" + id, "/api/Spaces-1/environments/" + id, "/api/spaces/Spaces-1/environments/" + id, "/api/spaces/default/environments/" + id,
			"/API/Environments/" + id + "/", "/api/SPACES-1/ENVIRONMENTS/" + id, "/api/environments/development", "/api/environments/" + strings.ToLower(id),
		} {
			if got := c.get(path).text("Id"); got != id {
				t.Errorf("%s gives %s", path, got)
			}
		}
		for _, path := range []string{"/api", "/api/", "/API"} {
			a := c.get(path)
			if a.text("Application") != "Octopus Deploy" || a.text("Version") != "2026.2.9999" || a.text("ApiVersion") != "3.0.0" {
				t.Errorf("%s: %s", path, a.body)
			}
		}
		for _, path := range []string{"/api/Spaces-9/environments", "/api/nosuch", "/api/environments/a%20name%20with%20spaces", "/api/environments/x/y/z", "/nosuch"} {
			a := c.try("GET", path, nil)
			if a.status != 404 || a.text("Errors") != "<nil>" || a.text("ErrorMessage") == "<nil>" {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		a := c.try("PATCH", "/api/environments", nil)
		if a.status != 405 || !strings.Contains(a.header.Get("Allow"), "GET") || !json.Valid(a.body) {
			t.Errorf("PATCH: %d %v %s", a.status, a.header, a.body)
		}
	})
}

func TestWhoMayWhat(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		startNode(c)
		nobody, wrong := *c, *c
		nobody.key, wrong.key = "", "API-WRONG12345"
		for _, path := range []string{"/api", "/.well-known/openid-configuration", "/api/serverstatus/hosted/internal"} {
			nobody.get(path)
			wrong.get(path)
		}
		for _, path := range []string{"/api/environments", "/api/users/me", "/api/Spaces-1", "/api/Spaces-9/environments", "/api/tasks"} {
			for _, who := range []client{nobody, wrong} {
				a := who.try("GET", path, nil)
				if a.status != 401 || a.text("ErrorMessage") == "<nil>" {
					t.Errorf("%s with key %q: %d %s", path, who.key, a.status, a.body)
				}
			}
		}
		// A user who is no administrator sees himself and nothing else.
		user := makeUser(t, c, "bob")
		bob := *c
		bob.key = user
		if got := bob.get("/api/users/me").text("Username"); got != "bob" {
			t.Errorf("me is %s", got)
		}
		for _, path := range []string{"/api/environments", "/api/projects/all", "/api/tasks", "/api/users"} {
			a := bob.try("GET", path, nil)
			if a.status != 403 || !strings.Contains(string(a.body), "Missing permission") {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
}

// makeUser makes a user without rights and gives his key.
func makeUser(t *testing.T, c *client, name string) string {
	t.Helper()
	key := "API-" + strings.ToUpper(name) + "12345"
	_, err := c.control.Admin(t.Context(), name, "", key)
	must(t, err)
	team := c.get("/api/teams/teams-administrators").object()
	var stay []any
	me := c.get("/api/users/me").text("Id")
	for _, id := range team["MemberUserIds"].([]any) {
		if id == me {
			stay = append(stay, id)
		}
	}
	team["MemberUserIds"] = stay
	c.put("/api/teams/teams-administrators", team)
	return key
}

func TestKeysAreShownOnceAndExpire(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		me := c.get("/api/users/me").text("Id")
		made := c.post("/api/users/"+me+"/apikeys", m{"Purpose": "CI"})
		key := made.text("ApiKey")
		if made.status != 201 || !strings.HasPrefix(key, "API-") {
			t.Fatalf("%d %s", made.status, made.body)
		}
		other := *c
		other.key = key
		other.get("/api/environments")
		if body := string(c.get("/api/users/me/apikeys").body); strings.Contains(body, key) {
			t.Error("a key is shown twice")
		}
		c.delete("/api/users/" + me + "/apikeys/" + made.text("Id"))
		if a := other.try("GET", "/api/environments", nil); a.status != 401 {
			t.Errorf("a revoked key still works: %d", a.status)
		}
		if a := c.try("POST", "/api/users/"+me+"/apikeys", m{"Purpose": "x", "Expires": "2001-01-01T00:00:00Z"}); a.status != 400 {
			t.Errorf("a key that has expired: %d", a.status)
		}
	})
}

func TestUnknownMembersAndSpellings(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.post("/api/environments", `{"name":"Dev","DESCRIPTION":"","FutureMember":{"x":[1,2.50]},"SpaceId":"","slug":"","useguidedfailure":true}`)
		if a.status != 201 {
			t.Fatal(a.status)
		}
		o := a.object()
		delete(o, "Links")
		delete(o, "LastModifiedOn")
		want := m{
			"Id": "Environments-1", "Name": "Dev", "Slug": "dev", "Description": "", "SpaceId": "Spaces-1", "SortOrder": 0.0, "UseGuidedFailure": true, "AllowDynamicInfrastructure": false,
			"EnvironmentTags": []any{}, "ExtensionSettings": []any{}, "FutureMember": m{"x": []any{1.0, 2.5}}, "LastModifiedBy": "admin",
		}
		if diff := cmp.Diff(want, o); diff != "" {
			t.Error(diff)
		}
		// What a client never sent stays absent; GET says the same as POST.
		b := c.post("/api/environments", `{"Name":"NoDescription"}`)
		if _, has := b.object()["Description"]; has {
			t.Error("a description appeared")
		}
		if diff := cmp.Diff(b.object(), c.get("/api/environments/"+b.text("Id")).object()); diff != "" {
			t.Errorf("GET after POST: %s", diff)
		}
	})
}

func TestErrors(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		for name, x := range map[string]struct {
			method, path string
			body         any
			want         string
		}{
			"no name":     {"POST", "/api/environments", m{}, "Please provide a name"},
			"wrong type":  {"POST", "/api/environments", `{"Name":"x","SortOrder":"many"}`, "SortOrder must be a number"},
			"no JSON":     {"POST", "/api/environments", `{"Name":`, "not valid JSON"},
			"no body":     {"POST", "/api/environments", nil, "no body"},
			"bad take":    {"GET", "/api/environments?take=x", nil, "take must be a whole number"},
			"no such ref": {"POST", "/api/lifecycles", m{"Name": "l", "Phases": []any{m{"Name": "p", "OptionalDeploymentTargets": []any{"Environments-77"}}}}, "Environments-77"},
		} {
			a := c.try(x.method, x.path, x.body)
			if a.status != 400 || a.text("ErrorMessage") != "There was a problem with your request." || !strings.Contains(a.text("Errors.0"), x.want) {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
			for _, member := range []string{"FullException", "HelpText", "HelpLink"} {
				if _, has := a.object()[member]; !has {
					t.Errorf("%s: no %s", name, member)
				}
			}
		}
	})
}

func TestPaging(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		for i := range 5 {
			c.post("/api/environments", m{"Name": fmt.Sprintf("e%d", i)})
		}
		p := c.get("/api/environments?skip=2&take=2&partialName=E")
		if p.text("TotalResults") != "5" || p.text("NumberOfPages") != "3" || p.text("LastPageNumber") != "2" || p.text("ItemsPerPage") != "2" || p.text("ItemType") != "Environment" || p.text("Items.0.Name") != "e2" {
			t.Errorf("%s", p.body)
		}
		links := p.object()["Links"].(m)
		next := c.get(links["Page.Next"].(string))
		if next.text("Items.0.Name") != "e4" {
			t.Errorf("next: %s", next.body)
		}
		if _, has := next.object()["Links"].(m)["Page.Next"]; has {
			t.Error("the last page has a next one")
		}
		if n := len(c.get("/api/environments/all").list()); n != 5 {
			t.Errorf("all gives %d", n)
		}
		if a := c.get("/api/environments?take=2147483647&ids=Environments-1%2CEnvironments-3,Environments-9"); a.text("TotalResults") != "2" {
			t.Errorf("ids: %s", a.body)
		}
		if a := c.get("/api/environments?ids=Environments-1&ids=Environments-2"); a.text("TotalResults") != "2" {
			t.Errorf("repeated ids: %s", a.body)
		}
		if a := c.get("/api/environments?take=0"); a.text("TotalResults") != "5" || len(a.object()["Items"].([]any)) != 0 {
			t.Errorf("take=0: %s", a.body)
		}
	})
}

func TestRootLinks(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		managers := c.get("/api/users/me").text("Id")
		c.post("/api/spaces", m{"Name": "Second", "SpaceManagersTeamMembers": []any{managers}})
		root, second := c.get("/api").object()["Links"].(m), c.get("/api/Spaces-2").object()["Links"].(m)
		if len(root) < 150 {
			t.Errorf("%d links", len(root))
		}
		if _, has := c.get("/api/Spaces-2").object()["Version"]; has {
			t.Error("the root of a space has a version")
		}
		for name, want := range map[string]string{
			"Environments": "/api/Spaces-2/environments{/id}{?name,skip,ids,take,partialName}", "Feeds": "/api/Spaces-2/feeds{/id}{?skip,take,ids,partialName,feedType,name}", "Teams": "/api/teams{/id}{?skip,take,ids,partialName,spaces,includeSystem}",
		} {
			if second[name] != want {
				t.Errorf("%s of the space is %v", name, second[name])
			}
		}
		if root["Feeds"] != "/api/feeds{/id}{?skip,take,ids,partialName,feedType,name}" || !strings.Contains(root["Tasks"].(string), ",ids,") {
			t.Errorf("Feeds %v, Tasks %v", root["Feeds"], root["Tasks"])
		}
		for name := range root {
			if _, has := second[name]; !has {
				t.Errorf("the space's root lacks %s", name)
			}
		}
	})
}

func TestStaleVersionIsRefused(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		p := makeProject(c, "Web")
		process := c.get("/api/deploymentprocesses/" + p.text("DeploymentProcessId")).object()
		c.put("/api/deploymentprocesses/"+p.text("DeploymentProcessId"), process)
		a := c.try("PUT", "/api/deploymentprocesses/"+p.text("DeploymentProcessId"), process)
		if a.status != 400 || !strings.Contains(string(a.body), "another user has made changes") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// makeProject makes a project with what it needs.
func makeProject(c *client, name string) answer {
	c.t.Helper()
	group := c.get("/api/projectgroups/all").list()[0].(m)["Id"]
	lifecycle := c.get("/api/lifecycles/all").list()[0].(m)["Id"]
	return c.post("/api/projects", m{"Name": name, "ProjectGroupId": group, "LifecycleId": lifecycle})
}
