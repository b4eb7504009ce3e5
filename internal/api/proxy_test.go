package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientAddressRow53Row54(t *testing.T) {
	const proxy = "192.168.123.111"
	for _, c := range []struct {
		name    string
		trusted []string
		peer    string
		header  http.Header
		want    string
	}{
		{"(a) all trusted: the left-most", []string{"0.0.0.0/0"}, proxy, h("X-Forwarded-For", "100.100.101.102, 200.123.124.125"), "100.100.101.102"},
		{"(b) nobody trusted: the peer", nil, proxy, h("X-Forwarded-For", "100.100.101.102"), proxy},
		{"(c) the right-most that is not trusted", []string{proxy + "/32"}, proxy, h("X-Forwarded-For", "100.100.101.102, 200.123.124.125"), "200.123.124.125"},
		{"(d) an untrusted peer: the peer", []string{"10.0.0.0/8"}, proxy, h("X-Forwarded-For", "100.100.101.102"), proxy},
		{"no header", []string{proxy + "/32"}, proxy, nil, proxy},
		{"through two trusted ones", []string{"10.0.0.0/8"}, "10.0.0.1", h("X-Forwarded-For", "1.2.3.4, 5.6.7.8, 10.0.0.2"), "5.6.7.8"},
		{"several lines", []string{"10.0.0.0/8"}, "10.0.0.1", http.Header{"X-Forwarded-For": {"1.2.3.4", "5.6.7.8, 10.0.0.2"}}, "5.6.7.8"},
		{"with ports", []string{"10.0.0.0/8"}, "10.0.0.1", h("X-Forwarded-For", "5.6.7.8:4711, 10.0.0.2:80"), "5.6.7.8"},
		{"IPv6", []string{"fd00::/8"}, "fd00::1", h("X-Forwarded-For", "2001:db8::1, [fd00::2]:80"), "2001:db8::1"},
		{"IPv4 in IPv6", []string{"10.0.0.0/8"}, "::ffff:10.0.0.1", h("X-Forwarded-For", "5.6.7.8"), "5.6.7.8"},
		{"what is left of nonsense is anybody's", []string{"10.0.0.0/8"}, "10.0.0.1", h("X-Forwarded-For", "1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2"},
		{"only nonsense", []string{"10.0.0.0/8"}, "10.0.0.1", h("X-Forwarded-For", "<script>"), "10.0.0.1"},
		{"Forwarded", []string{"10.0.0.0/8"}, "10.0.0.1", h("Forwarded", `for=1.2.3.4;proto=https, For="[2001:db8::7]:4711";by=10.0.0.9, for=10.0.0.3`), "2001:db8::7"},
		{"X-Forwarded-For wins over Forwarded", []string{"10.0.0.0/8"}, "10.0.0.1", http.Header{"X-Forwarded-For": {"1.2.3.4"}, "Forwarded": {"for=5.6.7.8"}}, "1.2.3.4"},
	} {
		var trusted []netip.Prefix
		for _, text := range c.trusted {
			trusted = append(trusted, netip.MustParsePrefix(text))
		}
		got := ""
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header = c.peer+":5000", c.header
		if c.header == nil {
			r.Header = http.Header{}
		}
		if c.peer[0] == 'f' || c.peer[0] == ':' {
			r.RemoteAddr = "[" + c.peer + "]:5000"
		}
		Behind(trusted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = addressOf(r) })).ServeHTTP(httptest.NewRecorder(), r)
		if ip, ok := parseAddress(got); !ok || ip.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func h(name, value string) http.Header { return http.Header{name: {value}} }

// Whether the client used https is believed of trusted proxies only.
func TestForwardedProtoIsBelievedOfTrustedProxies(t *testing.T) {
	for peer, want := range map[string]string{"10.0.0.1:1": "https://octavo.example", "11.0.0.1:1": "http://octavo.example"} {
		r := httptest.NewRequest("GET", "http://octavo.example/", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-Proto", "https")
		Behind([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got := (&call{r: r}).address(); got != want {
				t.Errorf("%s: %s, want %s", peer, got, want)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.2", `for=1.2.3.4;by="[::1]:80"`)
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, list, seven string) {
		for _, header := range []http.Header{h("X-Forwarded-For", list), h("Forwarded", seven)} {
			if ip := forwarded(trusted, header); ip.IsValid() && (ip.Zone() != "" || ip.Is4In6()) {
				t.Errorf("%v gives %s", header, ip)
			}
		}
	})
}
