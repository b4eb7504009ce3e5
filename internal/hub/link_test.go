package hub

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNewsOfLinksElsewhere: an agent's numbers begin anew once its last row is gone; its new links are news all the same.
func TestNewsOfLinksElsewhere(t *testing.T) {
	l := &links{of: map[string]*held{"a": {count: 1}, "b": {count: 1}}}
	for i, step := range []struct {
		newer map[string]int64
		news  []string
	}{
		{map[string]int64{"a": 7, "unknown": 3}, []string{"a"}},
		{map[string]int64{"a": 7}, nil},
		{map[string]int64{"a": 8, "b": 2}, []string{"a", "b"}},
		{map[string]int64{"a": 7, "b": 2}, nil}, // 8 ended; 7 is known
		{nil, nil},
		{map[string]int64{"a": 2}, []string{"a"}},
	} {
		got := l.news(step.newer)
		slices.Sort(got)
		if diff := cmp.Diff(step.news, got); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
	}
}
