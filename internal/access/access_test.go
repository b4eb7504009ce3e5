package access

import (
	"slices"
	"testing"

	"github.com/octavo/octavo/internal/fault"
)

func TestActor(t *testing.T) {
	admins := Team{MemberUserIds: []string{"Users-1", "Users-3"}}
	admins.Id = TeamAdministrators
	other := Team{MemberUserIds: []string{"Users-2"}}
	other.Id = "Teams-7"
	user := func(id string, active bool) User {
		u := User{Username: id, IsActive: active}
		u.Id = id
		return u
	}
	for _, c := range []struct {
		name  string
		actor Actor
		may   bool
		kind  fault.Kind
	}{
		{"nobody", Actor{}, false, fault.Unauthenticated},
		{"administrator", NewActor(user("Users-1", true), []Team{other, admins}, ByApiKey), true, 0},
		{"somebody", NewActor(user("Users-2", true), []Team{other, admins}, ByApiKey), false, fault.Denied},
		{"locked out", NewActor(user("Users-3", false), []Team{admins}, ByApiKey), false, fault.Denied},
		{"the server", System(), true, 0},
	} {
		if got := c.actor.May(ProjectEdit, "Spaces-1"); got != c.may {
			t.Errorf("%s: May = %v", c.name, got)
		}
		if err := c.actor.Check(ProjectEdit, "Spaces-1"); (err == nil) != c.may || err != nil && fault.KindOf(err) != c.kind {
			t.Errorf("%s: Check = %v", c.name, err)
		}
	}
	if System().May("ProjectEdti", "Spaces-1") {
		t.Error("a permission that does not exist must not be granted")
	}
}

func TestPermissionsAreSorted(t *testing.T) {
	if !slices.IsSorted(Permissions()) {
		t.Error("permissions are not in order")
	}
	for _, p := range Permissions() {
		if !OnServer(p) && !InSpace(p) {
			t.Errorf("%s is granted nowhere", p)
		}
	}
}
