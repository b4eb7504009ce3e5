package quickstart

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// pinged is a node: a line server that says its name, and a ping that answers a status.
type pinged struct {
	Backend
	status atomic.Int64
	lines  net.Listener
}

func newPinged(t *testing.T, name string) *pinged {
	t.Helper()
	p := &pinged{}
	p.status.Store(http.StatusOK)
	ping := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if p.status.Load() == 0 {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		w.WriteHeader(int(p.status.Load()))
	}))
	t.Cleanup(ping.Close)
	var err error
	if p.lines, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.lines.Close() })
	go func() {
		for {
			conn, err := p.lines.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewScanner(conn)
				for in.Scan() {
					fmt.Fprintf(conn, "%s %s\n", name, in.Text())
				}
				fmt.Fprintf(conn, "%s bye\n", name)
			}()
		}
	}()
	p.Backend = Backend{p.lines.Addr().String(), ping.URL}
	return p
}

// say sends a line and gives the answer.
func say(conn net.Conn, text string) string {
	if _, err := fmt.Fprintln(conn, text); err != nil {
		return err.Error()
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return line
}

// TestBalancer holds that connections take turns, that a node that drains keeps what it has and gets nothing new, that one that
// does not answer loses its connections, and that one that refuses is passed over.
func TestBalancer(t *testing.T) {
	one, two := newPinged(t, "one"), newPinged(t, "two")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := Balance(listener, one.Backend, two.Backend)
	defer b.Close()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// settle waits until new connections go where they should.
	settle := func(want string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for same := 0; same < 4; {
			if time.Now().After(deadline) {
				t.Fatalf("not all new connections go to %s", want)
			}
			conn := dial()
			if say(conn, "hello") == want+" hello\n" {
				same++
			} else {
				same = 0
			}
			conn.Close()
		}
	}
	first, second := dial(), dial()
	got := map[string]bool{say(first, "a"): true, say(second, "a"): true}
	if !got["one a\n"] || !got["two a\n"] {
		t.Fatalf("two connections went to %v", got)
	}
	held := first
	if say(first, "which") == "two which\n" {
		held = second
	}

	one.status.Store(http.StatusTeapot)
	settle("two")
	if got := say(held, "still"); got != "one still\n" {
		t.Errorf("the draining node's connection says %q", got)
	}
	one.status.Store(0)
	if _, err := io.ReadAll(held); err == nil {
		t.Log("cut in good order") // either way it has ended
	}
	if got := say(held, "gone"); got == "one gone\n" {
		t.Error("the connection to a node that does not answer goes on")
	}

	one.status.Store(http.StatusOK)
	two.status.Store(http.StatusTeapot)
	settle("one")
	one.lines.Close() // well by its ping, but it refuses
	if got := say(dial(), "x"); got != "two x\n" {
		t.Errorf("with one node refusing and the other draining: %q", got)
	}

	half := dial()
	if _, err := fmt.Fprintln(half, "last"); err != nil {
		t.Fatal(err)
	}
	if err := half.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(half); err != nil || string(all) != "two last\ntwo bye\n" {
		t.Errorf("after the end of what was sent: %q, %v", all, err)
	}
}
