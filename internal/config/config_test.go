package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLaterSourcesWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "octavo.yaml")
	if err := os.WriteFile(file, []byte("database: from-file\nblobs: from-file\nlisten: from-file:1\ntask-cap: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OCTAVO_BLOBS", "from-env")
	t.Setenv("OCTAVO_LISTEN", "from-env:1")
	var s Server
	origin, err := Load(&s, file, map[string]string{"listen": "from-flag:1"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Database != "from-file" || s.Blobs != "from-env" || s.Listen != "from-flag:1" || s.TaskCap != 7 || s.CommsListen != ":10943" {
		t.Errorf("got %+v", s)
	}
	if origin["blobs"] != "environment OCTAVO_BLOBS" || origin["comms-listen"] != "default" {
		t.Errorf("origins: %v", origin)
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "octavo.yaml")
	if err := os.WriteFile(file, []byte("databse: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OCTAVO_TASK_CAP", "many")
	t.Setenv("OCTAVO_STOP_GRACE", "soon")
	var s Server
	_, err := Load(&s, file, nil)
	if err == nil {
		t.Fatal("no mistake was found")
	}
	for _, want := range []string{"task-cap", "stop-grace", "did you mean database"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	s = Server{Listen: "nowhere", CommsListen: "nowhere", LogLevel: "loud"}
	err = s.Check()
	for _, want := range []string{"database", "blobs", "listen", "comms-listen", "log-level", "log-format"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "octavo.yaml")
	for text, want := range map[string]string{"label: [gpu, zone=eu]\n": "gpu zone=eu", "label: gpu\n": "gpu", "label: gpu, big\n": "gpu big", "listen: a:1\n": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var s Server
		if _, err := Load(&s, file, nil); err != nil || strings.Join(s.Labels, " ") != want {
			t.Errorf("%q: %v, %v", text, s.Labels, err)
		}
	}
	if err := os.WriteFile(file, []byte("listen: [a:1, b:1]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(&Server{}, file, nil); err == nil || !strings.Contains(err.Error(), "one value") {
		t.Errorf("a list of addresses: %v", err)
	}
	var s Server
	t.Setenv("OCTAVO_LABEL", "gpu,zone=eu")
	if _, err := Load(&s, "", nil); err != nil || len(s.Labels) != 2 {
		t.Errorf("from the environment: %v, %v", s.Labels, err)
	}
}

func TestNoMoreThanTwentySettings(t *testing.T) {
	if n := len(Settings(&Server{})); n > 20 {
		t.Errorf("%d settings", n)
	}
}
