package halibut

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Endpoint is a listening peer and the certificate it must have.
type Endpoint struct {
	Address    string // host:port
	Thumbprint string // SHA-1, hex
	SHA256     string // checked as well when it is known
	Proxy      *Proxy
}

// URL is the address as the REST API shows it.
func (e Endpoint) URL() string { return "https://" + e.Address + "/" }

// ParseAddress takes "https://host:port/", "host:port" or "host" and gives host:port.
func ParseAddress(text string, defaultPort int) (string, error) {
	address := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || (u.Path != "" && u.Path != "/") {
			return "", fmt.Errorf("%q is not an address like https://host:%d/", text, defaultPort)
		}
		address = u.Host
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), strconv.Itoa(defaultPort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	ip, notIP := netip.ParseAddr(host)
	if err != nil || n == 0 || notIP != nil && !hostName.MatchString(host) || ip.Zone() != "" && !hostName.MatchString(ip.Zone()) {
		return "", fmt.Errorf("%q is not an address like https://host:%d/", text, defaultPort)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// Proxy is an HTTP proxy that is asked to CONNECT (tentacle-protocol.md 1.19).
type Proxy struct {
	Address            string // host:port
	UserName, Password string
}

// DialFunc opens a TCP connection; nil in a config is the operating system's.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (d DialFunc) orSystem() DialFunc {
	if d != nil {
		return d
	}
	return (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
}

// dialer opens Halibut connections in either role.
type dialer struct {
	identity *Identity
	tcp      DialFunc
	timeouts Timeouts
}

// dial connects and introduces us with the identity line; nothing of a request is sent.
func (d dialer) dial(ctx context.Context, to Endpoint, line string) (_ *conn, err error) {
	host, _, err := net.SplitHostPort(to.Address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not host:port", to.Address)
	}
	raw, err := d.connect(ctx, to.Address, to.Proxy)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer func() {
		if !stop() {
			err = context.Cause(ctx) // our own closing is not the peer's failure
		}
		if err != nil {
			_ = raw.Close()
		}
	}()
	hello := time.Now().Add(d.timeouts.Hello)
	if err := raw.SetDeadline(hello); err != nil {
		return nil, err
	}
	secure := tls.Client(raw, d.identity.dialConfig(to, host))
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c := newConn(secure, raw, d.timeouts.Idle)
	return c, c.introduce(line, hello)
}

// introduce sends the preamble and our identity line and requires the acceptor's.
func (c *conn) introduce(line string, until time.Time) error {
	if _, err := io.WriteString(c.tls, preamble); err != nil {
		return err
	}
	if _, err := io.WriteString(c.tls, line+"\r\n\r\n"); err != nil {
		return err
	}
	c.ownDeadline = true
	defer func() { c.ownDeadline = false }()
	if err := c.raw.SetReadDeadline(until); err != nil {
		return err
	}
	peer, err := readIdentity(c.in)
	if err != nil {
		return fmt.Errorf("the peer did not introduce itself; perhaps it does not trust us: %w", err)
	}
	if peer.kind != "MX-SERVER" {
		return fmt.Errorf("the peer introduced itself as %s", peer.kind)
	}
	return nil
}

// connect opens TCP, through a proxy if there is one.
func (d dialer) connect(ctx context.Context, address string, proxy *Proxy) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeouts.Connect)
	defer cancel()
	if proxy == nil {
		return d.tcp.orSystem()(ctx, "tcp", address)
	}
	raw, err := d.tcp.orSystem()(ctx, "tcp", proxy.Address)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if err := askProxy(raw, address, proxy); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return raw, nil
}

// ProxyError is a refusal of the proxy; asking again soon does not help.
type ProxyError struct{ Status string }

// Error shows the proxy's answer.
func (e *ProxyError) Error() string { return fmt.Sprintf("the proxy answered %q", e.Status) }

func askProxy(raw net.Conn, address string, proxy *Proxy) error {
	if err := raw.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return err
	}
	ask := "CONNECT " + address + " HTTP/1.0\r\nHost: " + address + "\r\n"
	if proxy.UserName != "" {
		secret := base64.StdEncoding.EncodeToString([]byte(proxy.UserName + ":" + proxy.Password))
		ask += "Proxy-Authorization: Basic " + secret + "\r\n"
	}
	if _, err := io.WriteString(raw, ask+"\r\n"); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	status, err := readProxyAnswer(raw)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	parts := strings.Fields(status)
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "HTTP/") || parts[1] != "200" {
		return &ProxyError{status}
	}
	return raw.SetDeadline(time.Time{})
}

// readProxyAnswer reads the header block byte by byte, because what follows is TLS, and gives its first line.
func readProxyAnswer(r io.Reader) (string, error) {
	in := bufio.NewReaderSize(oneByte{io.LimitReader(r, maxPreamble)}, 16)
	var status string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", noEOF(err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" && status != "" {
			return status, nil
		}
		if status == "" {
			status = line
		}
	}
}

// oneByte reads no further than it is asked to, one byte at a time.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// Discover tells the certificate of a listening agent that we do not know yet (tentacle-protocol.md 1.18).
func Discover(ctx context.Context, address string, proxy *Proxy, dial DialFunc) (Peer, error) {
	d := dialer{tcp: dial, timeouts: Timeouts{}.withDefaults()}
	raw, err := d.connect(ctx, address, proxy)
	if err != nil {
		return Peer{}, &ConnectError{address, err}
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	if err := raw.SetDeadline(time.Now().Add(d.timeouts.Hello)); err != nil {
		return Peer{}, err
	}
	host, _, _ := net.SplitHostPort(address) // it was dialled, so it has a port
	secure := tls.Client(raw, &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // the certificate is what we came to learn
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		return Peer{}, &ConnectError{address, err}
	}
	_, err = io.WriteString(secure, "HELLO\r\n\r\n")
	return newPeer(secure.ConnectionState(), raw.RemoteAddr().String()), err
}
