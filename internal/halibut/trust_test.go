package halibut

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// say speaks to a listener as a peer of any sort, and returns what it says until it closes.
func say(t *testing.T, address string, id *Identity, words string) string {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if id != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &id.certificate, nil }
	}
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, words); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%q: the listener did not close", words)
	}
	return string(answer)
}

// TestUntrustedPeersGetNothing is acceptance check 5 of tentacle-protocol.md 7.5.
func TestUntrustedPeersGetNothing(t *testing.T) {
	client, subscriber := "MX-CLIENT 1.0\r\n\r\n", "MX-SUBSCRIBER 1.0 "+testSubscription+"\r\n\r\n"
	agent := listening(t, nil, testServices(t, nil, nil))
	server := polling(t, nil, testServices(t, nil, nil))
	for _, test := range []struct {
		name  string
		at    *rig
		id    *Identity
		words string
	}{
		{"no certificate", agent, nil, preamble + client},
		{"stranger", agent, strangerID(), preamble + client},
		{"agent polls an agent", agent, serverIdentity(), preamble + subscriber},
		{"polling without certificate", server, nil, preamble + subscriber},
		{"polling stranger", server, strangerID(), preamble + subscriber},
		{"foreign subscription", server, agentIdentity(), preamble + "MX-SUBSCRIBER 1.0 poll://other/\r\n\r\n"},
		{"subscription without poll://", server, agentIdentity(), preamble + "MX-SUBSCRIBER 1.0 http://other/\r\n\r\n"},
		{"no subscription", server, agentIdentity(), preamble + "MX-SUBSCRIBER 1.0\r\n\r\n"},
		{"agent calls a server", server, agentIdentity(), preamble + client},
		{"unknown word", server, agentIdentity(), preamble + "MX-OTHER 1.0\r\n\r\n"},
		{"no empty line", server, agentIdentity(), preamble + "MX-CLIENT 1.0\r\nNEXT\r\n"},
		{"empty preamble", server, agentIdentity(), "\r\n\r\n"},
	} {
		if got := say(t, test.at.address, test.id, test.words); got != "" {
			t.Errorf("%s: got %q", test.name, got)
		}
	}
	// A listener that trusts whoever asks still wants a certificate.
	open := *agent
	ln := listenAt(t, nil)
	open.address = ln.Addr().String()
	open.listener = NewListener(ListenerConfig{
		Identity: agentIdentity(), Services: testServices(t, nil, nil), Log: quiet(),
		Authorize: func(context.Context, Peer) error { return nil },
	})
	within(t, func(ctx context.Context) { _ = open.listener.Serve(ctx, ln) })
	if got := say(t, open.address, nil, preamble+client); got != "" {
		t.Errorf("trusting, without certificate: got %q", got)
	}
	// The same peers, trusted, are answered; a Linux preamble ends with LF.
	for _, first := range []string{"MX\r\n\r\n", "MX\n\n"} {
		got := say(t, agent.address, serverIdentity(), first+client+"GARBAGE that is no message")
		if !strings.HasPrefix(got, "MX-SERVER 1.0\r\n\r\n") {
			t.Errorf("%q: a trusted peer got %q", first, got)
		}
	}
}

// TestPage is acceptance check 6: browsers and a Tentacle's probe get a page, without a certificate.
func TestPage(t *testing.T) {
	server := polling(t, nil, testServices(t, nil, nil))
	web := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	for _, method := range []string{"GET", "POST"} {
		req, err := http.NewRequestWithContext(soon(t), method, "https://"+server.address+"/handshake", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || !strings.Contains(string(body), "It works.") {
			t.Errorf("%s: %d, %q, %v", method, res.StatusCode, body, err)
		}
	}
}

func TestWrongServerCertificate(t *testing.T) {
	r := listening(t, nil, testServices(t, nil, nil))
	for name, to := range map[string]Endpoint{
		"SHA-1":   {Address: r.address, Thumbprint: strangerID().Thumbprint},
		"SHA-256": {Address: r.address, Thumbprint: agentIdentity().Thumbprint, SHA256: strangerID().SHA256},
	} {
		began := time.Now()
		err := r.client.Call(soon(t), to, "IEcho", "Void", nil)
		var certificate *CertificateError
		if !errors.As(err, &certificate) || !NeverSent(err) || Retryable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if time.Since(began) > connectPause {
			t.Errorf("%s: it was tried again", name)
		}
	}
	lower := Endpoint{Address: r.address, Thumbprint: strings.ToLower(agentIdentity().Thumbprint)}
	if err := r.client.Call(soon(t), lower, "IEcho", "Void", nil); err != nil {
		t.Errorf("a thumbprint in lower case: %v", err)
	}
}

func TestUntrustedClient(t *testing.T) {
	r := listening(t, nil, testServices(t, nil, nil))
	client := NewClient(ClientConfig{Identity: strangerID(), Log: quiet()})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := client.Call(ctx, r.endpoint, "IEcho", "Void", nil); !NeverSent(err) {
		t.Errorf("%v", err)
	}
}

// TestTrustWithdrawn: live connections end when a peer is not trusted any more.
func TestTrustWithdrawn(t *testing.T) {
	r := polling(t, nil, testServices(t, nil, nil))
	if err := r.call(soon(t), "Void", nil); err != nil {
		t.Fatal(err)
	}
	if n := r.listener.Disconnect(func(p Peer) bool { return p.Thumbprint == strangerID().Thumbprint }); n != 0 {
		t.Errorf("%d connections of somebody else were closed", n)
	}
	n := r.listener.Disconnect(func(p Peer) bool { return p.Subscription == "poll://abcdefghij0123456789/" })
	if n < 1 {
		t.Errorf("%d connections were closed", n)
	}
	for deadline := time.Now().Add(10 * time.Second); r.polls.Connected(testSubscription); {
		if time.Now().After(deadline) {
			t.Fatal("the agent is still connected")
		}
		<-time.After(time.Millisecond)
	}
}

func TestDiscover(t *testing.T) {
	r := listening(t, nil, testServices(t, nil, nil))
	peer, err := Discover(soon(t), r.address, nil, nil)
	if err != nil || peer.Thumbprint != agentIdentity().Thumbprint || peer.SHA256 != agentIdentity().SHA256 {
		t.Errorf("%+v, %v", peer, err)
	}
}

func TestIdentityKept(t *testing.T) {
	text, err := agentIdentity().PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseIdentity(text)
	if err != nil || again.Thumbprint != agentIdentity().Thumbprint || again.SHA256 != agentIdentity().SHA256 {
		t.Errorf("%+v, %v", again, err)
	}
	if len(again.Thumbprint) != 40 || again.Thumbprint != strings.ToUpper(again.Thumbprint) {
		t.Errorf("thumbprint %q is not upper-case hex", again.Thumbprint)
	}
	if _, err := ParseIdentity(agentIdentity().CertificatePEM()); err == nil {
		t.Error("a certificate without its key was taken")
	}
}

// TestProxy goes through a real CONNECT.
func TestProxy(t *testing.T) {
	r := listening(t, nil, testServices(t, nil, nil))
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": q.Header["Proxy-Authorization"]}}).BasicAuth()
		asked <- q.Method + " " + q.Host + " " + user + " " + password
		if user != "joe" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		to, err := net.Dial("tcp", q.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.0 200 Connection established\r\nVia: test\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		_, _ = io.Copy(from, to)
		from.Close()
	})}
	stop := within(t, func(context.Context) { _ = server.Serve(proxy) })
	t.Cleanup(func() { server.Close(); stop() })
	to := r.endpoint
	to.Proxy = &Proxy{proxy.Addr().String(), "joe", "secret"}
	var got string
	if err := r.client.Call(soon(t), to, "IEcho", "Echo", &got, "through"); err != nil || got != "through" {
		t.Errorf("%q, %v", got, err)
	}
	if q := <-asked; q != "CONNECT "+r.address+" joe secret" {
		t.Errorf("the proxy was asked %q", q)
	}
	to.Proxy = &Proxy{Address: proxy.Addr().String()}
	var refused *ProxyError
	err = r.client.Call(soon(t), to, "IEcho", "Void", nil)
	if !errors.As(err, &refused) || !strings.Contains(refused.Status, "407") {
		t.Errorf("%v", err)
	}
	r.client.Close() // before the proxy waits for its tunnels
}
