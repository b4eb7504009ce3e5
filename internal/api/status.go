package api

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Status is GET serverstatus. IsInMaintenanceMode is the installation's maintenance, not a node's drain.
type Status struct {
	IsInMaintenanceMode                     bool
	IsDatabaseEncrypted                     bool
	IsMajorMinorUpgrade                     bool
	IsUpgradeAvailable                      bool
	IsHighlyAvailable                       bool // ours: two or more nodes are online
	MaximumAvailableVersion                 string
	MaximumAvailableVersionCoveredByLicense string
	MaintenanceExpires                      *resource.Time
	Links                                   map[string]string
}

// Health is GET serverstatus/health.
type Health struct {
	Description                  string
	IsOperatingNormally          bool
	IsEntireClusterDrainingTasks bool
	IsEntireClusterReadOnly      bool
	IsCompliantWithLicense       bool
	Links                        map[string]string
}

// Probe is what /livez and /readyz say.
type Probe struct {
	Status  string
	Node    string
	Version string
	Warning string // why the node takes no tasks, though it serves requests; "" when all is well
}

// SystemInfo is GET serverstatus/system-info: this node's process.
type SystemInfo struct {
	Node            string
	Version         string
	OSVersion       string
	ClrVersion      string // the runtime's version; the name is the clients'
	ProcessorCount  int
	ThreadCount     int
	GoroutineCount  int
	WorkingSetBytes int64
	Started         resource.Time
	Uptime          string
	Links           map[string]string
}

// started is when this process was.
var started = time.Now()

func (a *API) statusRoutes() []route {
	report := get(server, "/serverstatus/system-report", access.AdministerSystem, "", (*call).systemReport)
	report.answer = "application/zip"
	return []route{
		get(server, "/serverstatus", access.SignedIn, "", func(c *call) (Status, error) {
			nodes, err := c.control.Nodes(c.ctx)
			const path = "/api/serverstatus"
			return Status{
				IsDatabaseEncrypted: true, IsHighlyAvailable: summaryOf(nodes).IsHighlyAvailable, MaximumAvailableVersion: Version, MaximumAvailableVersionCoveredByLicense: Version,
				Links: map[string]string{"Self": path, "Health": path + "/health", "SystemInfo": path + "/system-info", "SystemReport": path + "/system-report", "RecentLogs": path + "/logs{?skip,take,includeDetail}"},
			}, err
		}),
		get(server, "/serverstatus/health", access.Anonymous, "", (*call).health).typed(nil, typeOf[Health]()),
		get(server, "/serverstatus/hosted/internal", access.Anonymous, "", (*call).ready),
		get(server, "/serverstatus/system-info", access.AdministerSystem, "", func(c *call) (SystemInfo, error) { return c.systemInfo(), nil }),
		get(server, "/serverstatus/logs", access.AdministerSystem, "skip take includeDetail", (*call).serverLog),
		report,
		get(server, "!/livez", access.Anonymous, "", func(c *call) (Probe, error) {
			return Probe{Status: "Alive", Node: c.control.Node, Version: Version}, nil
		}),
		a.metricsRoute(),
		get(server, "!/readyz", access.Anonymous, "", (*call).ready),
	}
}

// ready says that this node can serve: it is registered, the database answers, and nobody has told it to stop. One that
// drains is ready; what balances the load asks ping.
func (c *call) ready() (Probe, error) {
	n, stopping, broken := c.control.Self(c.ctx)
	if stopping && broken == "" {
		broken = "This node is stopping."
	}
	if broken != "" {
		return Probe{}, fault.Busyf("%s", broken)
	}
	return Probe{"Ready", n.Name, Version, n.Warning}, nil
}

// health is the cluster's: bad when no node takes tasks. Nodes that are offline are named.
func (c *call) health() (stated, error) {
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
	defer cancel()
	all, err := c.control.Nodes(ctx)
	if err != nil {
		c.log.WarnContext(c.ctx, "health", "err", err)
		return stated{}, fault.Busyf("The database does not answer.")
	}
	working := false
	var warnings []string
	for _, n := range all {
		working = working || n.TakesTasks()
		if n.Warning != "" {
			warnings = append(warnings, n.Warning)
		}
	}
	h := Health{IsOperatingNormally: working, IsEntireClusterDrainingTasks: !working, IsCompliantWithLicense: true, Links: map[string]string{"Self": "/api/serverstatus/health"}}
	status := http.StatusOK
	if !working {
		status = http.StatusTeapot
		warnings = append([]string{"No node of the cluster takes tasks: all are draining, offline or in trouble."}, warnings...)
	}
	if h.Description = strings.Join(warnings, " "); h.Description == "" {
		h.Description = "All is well."
	}
	return stated{status, h}, nil
}

func (c *call) systemInfo() SystemInfo {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return SystemInfo{
		Node: c.control.Node, Version: Version, OSVersion: strings.TrimSpace(runtime.GOOS + "/" + runtime.GOARCH + " " + line("/proc/sys/kernel/osrelease", "")), ClrVersion: runtime.Version(), ProcessorCount: runtime.NumCPU(),
		ThreadCount: int(number("/proc/self/status", "Threads:", 0)), GoroutineCount: runtime.NumGoroutine(), WorkingSetBytes: number("/proc/self/status", "VmRSS:", int64(m.Sys)>>10) << 10,
		Started: resource.Time{Time: started}, Uptime: time.Since(started).Round(time.Second).String(), Links: map[string]string{"Self": "/api/serverstatus/system-info"},
	}
}

// line gives what stands behind a word in a file of the system, "" when there is no such file.
func line(file, word string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, word); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func number(file, word string, otherwise int64) int64 {
	fields := strings.Fields(line(file, word))
	if len(fields) == 0 {
		return otherwise
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// serverLog pages through the last lines of this node's own log, the newest first.
func (c *call) serverLog() (resource.Page[LogLine], error) {
	skip, take, err := c.page()
	lines := recentOf(c.log)
	total := len(lines)
	lines = lines[min(skip, total):min(skip+take, total)]
	if c.arg("includeDetail") != "" && !c.flag("includeDetail") {
		for i := range lines {
			lines[i].Detail = ""
		}
	}
	return resource.NewPage("ActivityLogEntry", c.path(), c.asked, skip, take, total, lines), err
}

// systemReport is a zip for whoever is asked to help: the node, its neighbours, the duties, and the last of the log.
func (c *call) systemReport() (done, error) {
	nodes, err := c.control.Nodes(c.ctx)
	if err != nil {
		return done{}, err
	}
	scheduler, err := c.control.Scheduler(c.ctx)
	if err != nil {
		return done{}, err
	}
	var log strings.Builder
	lines := recentOf(c.log)
	for i := range lines {
		l := lines[len(lines)-1-i]
		fmt.Fprintf(&log, "%s %s %s %s\n", l.OccurredAt.UTC().Format(time.RFC3339Nano), l.Category, l.MessageText, l.Detail)
	}
	files := []struct {
		name string
		what any
	}{{"system-info.json", c.systemInfo()}, {"nodes.json", nodes}, {"scheduler.json", scheduler}, {"server-log.txt", log.String()}}
	h := c.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="octavo-report-%s.zip"`, time.Now().UTC().Format("20060102-150405")))
	c.w.WriteHeader(http.StatusOK)
	z := zip.NewWriter(c.w)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err != nil {
			return done{}, nil // the client has gone
		}
		if text, plain := f.what.(string); plain {
			_, _ = w.Write([]byte(text))
			continue
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(f.what)
	}
	_ = z.Close() // as above
	return done{}, nil
}
