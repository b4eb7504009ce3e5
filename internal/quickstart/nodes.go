package quickstart

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"time"
)

// node is one of several.
type node struct {
	name      string
	url       string
	arguments []string
	*process
}

func escape(text string) string { return url.QueryEscape(text) }

// startNodes starts a database and several nodes on it, and one address for them all.
func (s *show) startNodes(ctx context.Context, postgres string) error {
	since := time.Now()
	database := filepath.Join(s.Data, "octavo.db")
	if postgres != "" {
		var err error
		if database, err = s.startPostgres(ctx, postgres); err != nil {
			return err
		}
		s.done("database", "PostgreSQL of our own, in "+filepath.Join(s.Data, "postgres"), since)
	}
	if err := s.admin(ctx, database); err != nil {
		return err
	}
	web, err := listenFrom(s.Listen)
	if err != nil {
		return err
	}
	comms, err := listenFrom("127.0.0.1:10943")
	if err != nil {
		return err
	}
	s.told(web.Addr().String())
	s.url, s.comms = "http://"+web.Addr().String(), comms.Addr().String()

	since = time.Now()
	var webs, commses []Backend
	for n := range s.Nodes {
		name := "node-" + string(rune('a'+n))
		listen, err := freeAddress(s.Listen) // beyond the balancer's own
		if err != nil {
			return err
		}
		poll, err := freeAddress("127.0.0.1:10943")
		if err != nil {
			return err
		}
		node := &node{name: name, url: "http://" + listen}
		node.arguments = append(s.arguments(database), "--data", filepath.Join(s.Data, "nodes", name), "--listen", listen, "--comms-listen", poll,
			"--node-name", name, "--public-url", s.url)
		if err := s.launch(ctx, node); err != nil {
			return err
		}
		s.nodes = append(s.nodes, node)
		ping := node.url + "/api/octopusservernodes/ping"
		webs, commses = append(webs, Backend{listen, ping}), append(commses, Backend{poll, ping})
	}
	s.balancers = append(s.balancers, Balance(web, webs...), Balance(comms, commses...))
	s.done("nodes", fmt.Sprintf("%d, on one database and one folder of packages and logs", s.Nodes), since)
	return s.table(ctx)
}

// launch starts a node, for the first time or again, and waits until it wants work.
func (s *show) launch(ctx context.Context, n *node) (err error) {
	if n.process, err = s.start(n.name, exec.Command(s.octavo, append([]string{"server", "run"}, n.arguments...)...)); err != nil {
		return err
	}
	return s.wait(ctx, n.process, n.name, func() bool { return answers(n.url + "/api/octopusservernodes/ping") })
}

// answers says whether a URL gives 200.
func answers(url string) bool {
	response, err := http.Get(url)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// table shows the nodes, once one of them leads.
func (s *show) table(ctx context.Context) error {
	type row struct {
		Id, Name, Rank     string //nolint:revive // the wire's names
		MaxConcurrentTasks int
	}
	ranks := map[string]row{}
	for led, deadline := false, time.Now().Add(20*time.Second); !led && time.Now().Before(deadline); {
		var all []row
		if err := s.call(ctx, http.MethodGet, "/api/octopusservernodes/all", nil, &all); err != nil {
			return err
		}
		for _, r := range all {
			ranks[r.Name] = r
			led = led || r.Rank == "Leader"
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, n := range s.nodes {
		r := ranks[n.name]
		fmt.Fprintf(s, "    %s %-8s %-9s %s  %d slots, process %d\n", s.paint(green, "●"), n.name, r.Rank, n.url, r.MaxConcurrentTasks, n.Process.Pid)
	}
	_, port, _ := net.SplitHostPort(s.comms)
	fmt.Fprintf(s, "    balancer           %s, for polling agents port %s\n", s.url, port)
	return nil
}
