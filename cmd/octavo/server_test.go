package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
)

func TestProxyProtocol(t *testing.T) {
	for _, c := range []struct {
		name, trusted string
		enabled       bool
		status        int
		want          string
	}{
		{"from a trusted proxy", "127.0.0.0/8", true, 200, "203.0.113.7"},
		{"from anybody else it is no header", "10.0.0.0/8", true, 400, ""},
		{"not enabled", "127.0.0.0/8", false, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			listener, err := listen("listen", "127.0.0.1:0", c.enabled, []netip.Prefix{netip.MustParsePrefix(c.trusted)})
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				host, _, _ := net.SplitHostPort(r.RemoteAddr)
				w.Header().Set("Client", host)
			})}
			done := make(chan error)
			go func() { done <- server.Serve(listener) }()
			defer func() {
				server.Close()
				if err := <-done; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			}()
			conn, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: octavo\r\n\r\n")
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if got := answer.Header.Get("Client"); answer.StatusCode != c.status || got != c.want {
				t.Errorf("%d %q, want %d %q", answer.StatusCode, got, c.status, c.want)
			}
		})
	}
}

// Other nodes look at a node's port to know whether its process lives, so the address must not be "every one".
func TestReachedAt(t *testing.T) {
	given := &net.TCPAddr{IP: net.ParseIP("10.1.2.3"), Port: 8080}
	if got := reachedAt(given); got != "10.1.2.3:8080" {
		t.Error(got)
	}
	for _, every := range []string{"0.0.0.0", "::"} {
		host, port, err := net.SplitHostPort(reachedAt(&net.TCPAddr{IP: net.ParseIP(every), Port: 8080}))
		if ip := net.ParseIP(host); err != nil || port != "8080" || ip == nil || ip.IsUnspecified() {
			t.Errorf("%s: %s %s %v", every, host, port, err)
		}
	}
}
