package access

import (
	"context"
	"testing"
)

func TestMay(t *testing.T) {
	for _, c := range []struct {
		name                           string
		actor                          Actor
		anonymous, signedIn, permitted bool
	}{
		{"nobody", Actor{}, true, false, false},
		{"somebody", Actor{UserId: "Users-2"}, true, true, false},
		{"administrator", Actor{UserId: "Users-1", Administrator: true}, true, true, true},
		{"the server itself", System, true, true, true},
		{"a forgotten context", From(context.Background()), true, false, false},
		{"somebody, in a context", From(With(context.Background(), Actor{UserId: "Users-2"})), true, true, false},
	} {
		for permission, want := range map[Permission]bool{Anonymous: c.anonymous, SignedIn: c.signedIn, ProjectEdit: c.permitted, AdministerSystem: c.permitted} {
			if got := c.actor.May(permission, "Spaces-1"); got != want {
				t.Errorf("%s: May(%s) = %v", c.name, permission, got)
			}
		}
	}
}
