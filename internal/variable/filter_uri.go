package variable

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

var defaultPorts = map[string]int{"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443, "ssh": 22, "ldap": 389, "gopher": 70, "nntp": 119, "telnet": 23, "mailto": 25}

// uriPart takes an address apart (variables.md 2, UriPart details). What goes wrong is said in the text.
func uriPart(in string, options []string) (string, bool) {
	if len(options) == 0 {
		return "[UriPart error: no argument given]", true
	}
	u, err := url.Parse(strings.TrimSpace(in))
	if err != nil || u.Scheme != "" && u.Opaque == "" && u.Host == "" && u.Scheme != "file" {
		return in, true
	}
	part, known := uriParts[strings.ToLower(options[0])]
	switch {
	case !known:
		return "[UriPart " + options[0] + " error: argument '" + options[0] + "' not supported]", true
	case strings.EqualFold(options[0], "IsAbsoluteUri"):
		return strconv.FormatBool(u.Scheme != ""), true
	case u.Scheme == "":
		return "[UriPart " + options[0] + " error: This operation is not supported for a relative URI.]", true
	}
	u.Host = strings.ToLower(u.Host)
	if u.Path == "" && u.Opaque == "" {
		u.Path = "/"
	}
	return part(u), true
}

var uriParts = map[string]func(*url.URL) string{
	"absolutepath":    absolutePath,
	"absoluteuri":     absoluteURI,
	"authority":       authority,
	"dnssafehost":     func(u *url.URL) string { return u.Hostname() },
	"fragment":        fragment,
	"host":            host,
	"hostandport":     func(u *url.URL) string { return host(u) + ":" + port(u) },
	"hostnametype":    hostNameType,
	"isabsoluteuri":   nil, // answered before
	"isdefaultport":   func(u *url.URL) string { return strconv.FormatBool(isDefaultPort(u)) },
	"isfile":          func(u *url.URL) string { return strconv.FormatBool(u.Scheme == "file") },
	"isloopback":      func(u *url.URL) string { return strconv.FormatBool(isLoopback(u)) },
	"isunc":           func(u *url.URL) string { return strconv.FormatBool(u.Scheme == "file" && u.Host != "") },
	"path":            func(u *url.URL) string { return u.Path + opaquePath(u) },
	"pathandquery":    func(u *url.URL) string { return absolutePath(u) + query(u) },
	"port":            port,
	"query":           query,
	"scheme":          func(u *url.URL) string { return u.Scheme },
	"schemeandserver": func(u *url.URL) string { return u.Scheme + "://" + authority(u) },
	"userinfo":        func(u *url.URL) string { return u.User.String() },
}

func opaquePath(u *url.URL) string { return u.Opaque }

func absolutePath(u *url.URL) string { return u.EscapedPath() + opaquePath(u) }

func absoluteURI(u *url.URL) string {
	if u.Opaque != "" {
		return u.String()
	}
	user := ""
	if u.User != nil {
		user = u.User.String() + "@"
	}
	return u.Scheme + "://" + user + authority(u) + absolutePath(u) + query(u) + fragment(u)
}

func query(u *url.URL) string {
	if u.RawQuery == "" && !u.ForceQuery {
		return ""
	}
	return "?" + u.RawQuery
}

func fragment(u *url.URL) string {
	if u.Fragment == "" {
		return ""
	}
	return "#" + u.EscapedFragment()
}

// host keeps the brackets of an IPv6 address.
func host(u *url.URL) string {
	h := u.Hostname()
	if strings.Contains(h, ":") {
		return "[" + h + "]"
	}
	return h
}

func authority(u *url.URL) string {
	if isDefaultPort(u) {
		return host(u)
	}
	return host(u) + ":" + port(u)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if p, ok := defaultPorts[u.Scheme]; ok {
		return strconv.Itoa(p)
	}
	return "-1"
}

func isDefaultPort(u *url.URL) bool {
	p := u.Port()
	return p == "" || p == strconv.Itoa(defaultPorts[u.Scheme])
}

func isLoopback(u *url.URL) bool {
	h := u.Hostname()
	ip := net.ParseIP(h)
	return h == "localhost" || h == "loopback" || ip != nil && ip.IsLoopback() || h == "" && u.Scheme == "file"
}

func hostNameType(u *url.URL) string {
	h := u.Hostname()
	addr, err := netip.ParseAddr(h)
	switch {
	case h == "" && u.Scheme == "file":
		return "Basic"
	case h == "":
		return "Unknown"
	case err == nil && addr.Is4():
		return "IPv4"
	case err == nil:
		return "IPv6"
	case strings.Trim(h, "abcdefghijklmnopqrstuvwxyz0123456789-._") == "":
		return "Dns"
	}
	return "Basic"
}
