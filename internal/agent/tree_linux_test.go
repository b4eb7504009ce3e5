package agent

import "testing"

func withoutCgroup() { findCgroup = func() string { return "" } }

func TestOwnCgroup(t *testing.T) {
	if own := ownCgroup(); own != "" && !exists(own+"/cgroup.procs") {
		t.Errorf("%s is not a cgroup", own)
	}
}
