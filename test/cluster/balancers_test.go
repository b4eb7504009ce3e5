package cluster

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// balanced starts a real balancer with the configuration we ship, in front of a cluster's nodes.
func (c *nodes) balanced(kind string) (web, comms string) {
	c.t.Helper()
	web, comms = freeAddress(c.t), freeAddress(c.t)
	file := map[string]string{"nginx": "nginx/octavo.conf", "haproxy": "haproxy/haproxy.cfg"}[kind]
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
	if err != nil {
		c.t.Fatal(err)
	}
	pairs := []string{"bind :80 ", "bind " + web + " ", "bind :10943", "bind " + comms, "listen 80;", "listen " + web + ";", "listen 10943;", "listen " + comms + ";"}
	for n, name := range []string{"node-a", "node-b", "node-c"} {
		_, port, _ := net.SplitHostPort(c.all[n].listen)
		pairs = append(pairs,
			name+":8080;", c.all[n].listen+";", name+":8080 ", c.all[n].listen+" ", name+":8080\n", c.all[n].listen+"\n",
			name+":10943\n", c.all[n].comms+" port "+port+" addr 127.0.0.1\n", name+":10943 ", c.all[n].comms+" ")
	}
	config := c.path(kind + ".conf")
	made := strings.NewReplacer(pairs...).Replace(string(text))
	var p *process
	switch kind {
	case "nginx":
		module := "/usr/lib/nginx/modules/ngx_stream_module.so"
		made = "load_module " + module + ";\ndaemon off;\nerror_log stderr;\npid " + c.path("nginx.pid") + ";\nevents {}\n" + strings.Replace(made, "http {", "http {\naccess_log off;\n", 1)
		for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			made = strings.Replace(made, "http {", "http {\n"+what+"_temp_path "+c.path("nginx-"+what)+";\n", 1)
		}
		writeFile(c.t, config, made)
		p = spawn(c.t, c.path(kind+".log"), nil, "/usr/sbin/nginx", "-p", c.dir, "-c", config)
	case "haproxy":
		writeFile(c.t, config, made)
		p = spawn(c.t, c.path(kind+".log"), nil, "/usr/sbin/haproxy", "-db", "-f", config)
	}
	c.t.Cleanup(func() {
		_ = p.Process.Kill()
		killIn(c.dir)
		<-p.done
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", kind, tail(c.path(kind+".log"), 30))
		}
	})
	through := client{url: "http://" + web, key: c.key}.hasty()
	c.eventually(10*time.Second, kind+" serves", func() (bool, string) {
		if p.ended() {
			c.t.Fatalf("%s ended: %v\n%s", kind, p.err, tail(c.path(kind+".log"), 20))
		}
		err := through.try("GET", "/api", nil, nil)
		return err == nil, fmt.Sprint(err)
	})
	return web, comms
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBalancersRow48Row51Row55Row57 puts each of the balancers whose configuration we ship before three nodes: a large package, a log that is
// followed, an agent that knows the balancer only, and calls without a failure while nodes drain, stop and die.
func TestBalancersRow48Row51Row55Row57(t *testing.T) {
	for _, kind := range []string{"nginx", "haproxy"} {
		t.Run(kind, func(t *testing.T) {
			parallel(t)
			direct := threeNodes(t, "--trusted-proxies", "127.0.0.0/8")
			web, comms := direct.balanced(kind)
			first := *direct.installation // the same, through the balancer
			first.client = client{url: "http://" + web, key: direct.key}
			c := &nodes{installation: &first, all: direct.all}
			c.polls("balanced", comms)

			size := int64(48 << 20)
			if long() {
				size = 5 << 30
			}
			reader, writer := io.Pipe()
			go func() {
				block := endless(bytes.Repeat([]byte("0123456789abcdef"), 64<<10))
				writer.CloseWithError(zipOf(writer, "content", io.LimitReader(block, size)))
			}()
			c.uploadFrom("big.1.0.0.zip", reader)
			var stored struct{ PackageSizeBytes int64 }
			c.call("GET", "/packages/packages-big.1.0.0", nil, &stored)
			if stored.PackageSizeBytes < size {
				t.Errorf("the package has %d bytes of %d", stored.PackageSizeBytes, size)
			}

			stop, failed := make(chan struct{}), make(chan string, 100)
			var callers sync.WaitGroup
			calls := 0
			callers.Go(func() {
				for ; ; calls++ {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if err := c.hasty().try("GET", "/api/octopusservernodes/all", nil, nil); err != nil && len(failed) < cap(failed) {
						failed <- err.Error()
					}
				}
			})
			p := c.counter("Count", "0.2")
			id := c.deploy(p, "1.0.0", "Test", nil)
			var seen []entry
			followed := make(chan error, 1)
			go func() { // the reader comes back when its node is gone
				over, after := false, int64(0)
				var err error
				for tries := 0; !over && tries < 50; tries++ {
					var more []entry
					if more, over, err = c.follow(id, after); len(more) > 0 {
						seen, after = append(seen, more...), more[len(more)-1].Number
					}
				}
				followed <- err
			}()
			c.reached(id, 4)
			owner := c.owner(id)
			owner.kill()
			c.reached(id, 10)
			second := c.owner(id)
			c.set(second, object{"IsInMaintenanceMode": true})
			c.succeeds(id, 60*time.Second)
			if kind == "haproxy" { // it looks at the ping; a draining node gets no new requests after that
				c.eventually(10*time.Second, "no request reaches the draining node", func() (bool, string) {
					for range 10 {
						var node nodeRow
						if err := c.hasty().try("GET", "/api/octopusservernodes/ping", nil, &node); err != nil || node.Name == second.name {
							return false, fmt.Sprint(node.Name, err)
						}
					}
					return true, ""
				})
			}
			if err := <-followed; err != nil {
				t.Errorf("the log was not followed to its end: %v", err)
			}
			close(stop)
			callers.Wait()
			close(failed)
			for text := range failed {
				t.Errorf("a call failed: %s", text)
			}
			t.Logf("%d calls beside", calls)
			c.wholeStream(seen)
			c.counted(id, c.others(owner)...)
		})
	}
}

// endless repeats some bytes.
type endless []byte

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }
