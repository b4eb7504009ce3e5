package api_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/api"
)

// TestOwnLog: the last lines of a node's log can be read, the newest first, and are part of the report.
func TestOwnLog(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		startNode(c)
		var out strings.Builder
		log := slog.New(api.NewRecent(slog.NewTextHandler(&out, nil))).With("node", "n1")
		a := c.through(c.db, "n1", log)
		if got := a.get("/api/serverstatus/logs"); got.text("TotalResults") != "0" {
			t.Errorf("before a line: %s", got.body)
		}
		log.Debug("not said, not kept")
		for i := range 1005 {
			log.WithGroup("of").Info("line", "number", i, "text", "two words")
		}
		log.Error("bad \xff news", "err", strings.Repeat("x", 5000))
		got := a.get("/api/serverstatus/logs?take=2")
		if got.text("TotalResults") != "1000" || got.text("Items.0.Category") != "Error" || !strings.HasPrefix(got.text("Items.0.MessageText"), "bad ") || len(got.text("Items.0.Detail")) > 4200 ||
			got.text("Items.1.Category") != "Info" || got.text("Items.1.Detail") != `node=n1 of.number=1004 of.text="two words"` {
			t.Errorf("the newest two: %s", got.body)
		}
		if got := a.get("/api/serverstatus/logs?skip=999&includeDetail=false"); got.text("Items.0.MessageText") != "line" || got.text("Items.0.Detail") != "" || len(got.object()["Items"].([]any)) != 1 {
			t.Errorf("the oldest: %s", got.body)
		}
		if got := a.get("/api/serverstatus/logs?skip=5000"); len(got.object()["Items"].([]any)) != 0 {
			t.Errorf("behind the oldest: %s", got.body)
		}
		if strings.Count(out.String(), "\n") != 1006 {
			t.Errorf("the log itself has %d lines", strings.Count(out.String(), "\n"))
		}

		info := a.get("/api/serverstatus/system-info")
		for _, member := range []string{"ThreadCount", "WorkingSetBytes", "ProcessorCount", "GoroutineCount"} {
			if n, ok := info.object()[member].(float64); !ok || n < 1 {
				t.Errorf("%s is %v", member, info.object()[member])
			}
		}
		if info.text("Node") != "n1" || info.text("Version") != api.Version || !strings.HasPrefix(info.text("ClrVersion"), "go") || info.text("OSVersion") == "" || info.text("Uptime") == "" {
			t.Errorf("system-info: %s", info.body)
		}

		report := a.get("/api/serverstatus/system-report")
		z, err := zip.NewReader(bytes.NewReader(report.body), int64(len(report.body)))
		must(t, err)
		for name, want := range map[string]string{"system-info.json": api.Version, "nodes.json": "OctopusServerNodes-n1", "scheduler.json": "Sweep", "server-log.txt": "of.number=1004"} {
			f, err := z.Open(name)
			must(t, err)
			text, err := io.ReadAll(f)
			must(t, err)
			if !strings.Contains(string(text), want) || strings.Contains(string(text), adminKey) {
				t.Errorf("%s of the report: %.300s", name, text)
			}
		}
		if got := fmt.Sprint(report.header["Content-Type"], report.header["Content-Disposition"]); !strings.Contains(got, "application/zip") || !strings.Contains(got, ".zip") {
			t.Errorf("the report's header: %s", got)
		}
	})
}
