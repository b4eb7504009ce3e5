package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Behind makes requests look as their client sent them, when they came through proxies that are trusted: its address, and
// whether it used https. What others claim is dropped (behaviour.md 2.12).
//
//	peer trusted    the right-most forwarded address that is not trusted; all trusted: the left-most; none: the peer
//	peer untrusted  the peer, whatever the headers say
func Behind(trusted []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, port, err := net.SplitHostPort(r.RemoteAddr)
		if ip, ok := parseAddress(peer); err == nil && ok && isTrusted(trusted, ip) {
			if client := forwarded(trusted, r.Header); client.IsValid() {
				r = r.Clone(r.Context())
				r.RemoteAddr = net.JoinHostPort(client.String(), port)
			}
		} else if r.Header.Get("X-Forwarded-Proto") != "" || r.Header.Get("Forwarded") != "" {
			r = r.Clone(r.Context())
			r.Header.Del("X-Forwarded-Proto")
			r.Header.Del("Forwarded")
		}
		next.ServeHTTP(w, r)
	})
}

func isTrusted(trusted []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// forwarded gives the client's address as the chain of proxies tells it; invalid when it does not. It is read from the right,
// where the nearest proxy wrote, up to the first word that is no address: what is left of it may be anybody's.
func forwarded(trusted []netip.Prefix, h http.Header) (client netip.Addr) {
	for _, word := range slices.Backward(chain(h)) {
		ip, ok := parseAddress(word)
		if !ok {
			return client
		}
		client = ip
		if !isTrusted(trusted, ip) {
			return client
		}
	}
	return client
}

// chain is X-Forwarded-For, or without it the for= of Forwarded (RFC 7239), over all lines of the header.
func chain(h http.Header) []string {
	if lines := h.Values("X-Forwarded-For"); len(lines) > 0 {
		return strings.Split(strings.Join(lines, ","), ",")
	}
	lines := h.Values("Forwarded")
	if len(lines) == 0 {
		return nil
	}
	var words []string
	for hop := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		word := ""
		for pair := range strings.SplitSeq(hop, ";") {
			if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.EqualFold(name, "for") {
				word = strings.Trim(value, `"`)
			}
		}
		words = append(words, word)
	}
	return words
}

// parseAddress reads 10.0.0.1, 10.0.0.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80.
func parseAddress(word string) (netip.Addr, bool) {
	word = strings.TrimSpace(word)
	if at, err := netip.ParseAddrPort(word); err == nil {
		return at.Addr().WithZone("").Unmap(), true
	}
	if len(word) > 2 && word[0] == '[' && word[len(word)-1] == ']' {
		word = word[1 : len(word)-1]
	}
	ip, err := netip.ParseAddr(word)
	return ip.WithZone("").Unmap(), err == nil
}
