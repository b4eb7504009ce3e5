package api

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
)

// metricsPatience is how long a scrape waits for the database; without it the process's own figures are still told.
const metricsPatience = 3 * time.Second

var (
	up           = prometheus.NewDesc("octavo_database_up", "1 when the database answered this scrape.", nil, nil)
	readSeconds  = prometheus.NewDesc("octavo_database_read_seconds", "How long the database took to answer this scrape.", nil, nil)
	queueTasks   = prometheus.NewDesc("octavo_queue_tasks", "Live tasks by state and, when queued, by what they wait for.", []string{"state", "reason"}, nil)
	queueOldest  = prometheus.NewDesc("octavo_queue_oldest_seconds", "Age of the oldest of them.", []string{"state", "reason"}, nil)
	nodeUp       = prometheus.NewDesc("octavo_node_up", "1 when the node's heartbeat is seen.", []string{"node", "version"}, nil)
	nodeDraining = prometheus.NewDesc("octavo_node_draining", "1 when the node takes no new tasks.", []string{"node"}, nil)
	nodeLeader   = prometheus.NewDesc("octavo_node_leader", "1 for the node that leads.", []string{"node"}, nil)
	nodeTrouble  = prometheus.NewDesc("octavo_node_trouble", "1 when the node takes no tasks because of trouble, such as a blob store that cannot be used.", []string{"node"}, nil)
	nodeSlots    = prometheus.NewDesc("octavo_node_slots", "The node's task cap.", []string{"node"}, nil)
	nodeRunning  = prometheus.NewDesc("octavo_node_running_tasks", "Tasks the node owns.", []string{"node"}, nil)
)

// figures collects what the database knows. Labels have few values: never a task, a project or a machine.
type figures struct{ control *control.Control }

// Describe lists nothing: which series there are depends on the cluster.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect reads the cluster's figures once a scrape.
func (f figures) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsPatience)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	got, err := f.control.Figures(ctx)
	if err != nil {
		gauge(up, 0)
		return
	}
	gauge(up, 1)
	gauge(readSeconds, got.Took.Seconds())
	seen := map[[2]string]bool{}
	for _, d := range got.Depths {
		seen[[2]string{string(d.State), d.Reason}] = true
		gauge(queueTasks, float64(d.Tasks), string(d.State), d.Reason)
		if d.Reason != "scheduled" {
			gauge(queueOldest, d.Oldest, string(d.State), d.Reason)
		}
	}
	for _, place := range [][2]string{{"queued", "slot"}, {"queued", "turn"}, {"queued", "label"}, {"queued", "stopped"}, {"queued", "scheduled"}, {"running", ""}, {"released", ""}, {"waiting", ""}} {
		if !seen[place] { // an alert must see the zero
			gauge(queueTasks, 0, place[0], place[1])
		}
	}
	for _, n := range got.Nodes {
		gauge(nodeUp, bit(!n.IsOffline()), n.Name, n.Version)
		gauge(nodeDraining, bit(n.Draining), n.Name)
		gauge(nodeLeader, bit(n.Leader), n.Name)
		gauge(nodeTrouble, bit(n.Trouble != ""), n.Name)
		gauge(nodeSlots, float64(n.Cap), n.Name)
		gauge(nodeRunning, float64(n.RunningTasks), n.Name)
	}
}

func bit(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// metrics is GET /metrics in Prometheus's text form: the cluster's figures, and this process's own.
func metrics(c *control.Control) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(figures{c})
	return promhttp.HandlerFor(prometheus.Gatherers{registry, prometheus.DefaultGatherer}, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

func (a *API) metricsRoute() route {
	serve := metrics(a.control)
	return raw(get(server, "!/metrics", access.SignedIn, "", func(c *call) (done, error) {
		serve.ServeHTTP(c.w, c.r)
		return done{}, nil
	}))
}
