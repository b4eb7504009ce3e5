package api

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

var spaceID = regexp.MustCompile(`(?i)^spaces-\d+$`)

// place is what the normaliser cut out of a path.
type place struct {
	space string // id or slug as it was sent; "" when the path named none
	root  bool   // the path is a space's root document
}

type placeKey struct{}

func placeOf(r *http.Request) place {
	p, _ := r.Context().Value(placeKey{}).(place)
	return p
}

// literals knows the literal segments of the table, by the first segment and the depth.
type literals map[string]map[int]map[string]bool

func literalsOf(routes []route) literals {
	l := literals{}
	for _, r := range routes {
		parts := strings.Split(strings.TrimPrefix(r.path, "/"), "/")
		first := parts[0]
		if l[first] == nil {
			l[first] = map[int]map[string]bool{}
		}
		for i, p := range parts {
			if strings.HasPrefix(p, "{") {
				continue
			}
			if l[first][i] == nil {
				l[first][i] = map[string]bool{}
			}
			l[first][i][p] = true
		}
	}
	return l
}

// normalise brings the three routing forms, and any case of the literal segments, to the one the mux knows. Requests that are
// not for /api pass unchanged.
func (a *API) normalise(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
		for i, p := range parts {
			if p == "" && i > 0 { // "//" is one slash
				parts = append(parts[:i:i], parts[i+1:]...)
				break
			}
		}
		if !strings.EqualFold(parts[0], "api") {
			next.ServeHTTP(w, r)
			return
		}
		parts = parts[1:]
		var at place
		switch {
		case len(parts) > 0 && spaceID.MatchString(parts[0]):
			at.space, parts = parts[0], parts[1:]
			at.root = len(parts) == 0
		case len(parts) > 2 && strings.EqualFold(parts[0], "spaces") && a.scoped[strings.ToLower(parts[2])]:
			at.space, _ = url.PathUnescape(parts[1])
			parts = parts[2:]
		}
		if len(parts) > 0 {
			first := strings.ToLower(parts[0])
			for i, p := range parts {
				if lower := strings.ToLower(p); a.literals[first][i][lower] {
					parts[i] = lower
				}
			}
		}
		u := *r.URL
		u.RawPath = "/api/" + strings.Join(parts, "/")
		if at.root {
			u.RawPath = "/api" + spaceRoot
		}
		if len(parts) == 0 && !at.root {
			u.RawPath = "/api"
		}
		path, err := url.PathUnescape(u.RawPath)
		if err != nil {
			path = u.RawPath
		}
		u.Path = path
		r2 := r.WithContext(context.WithValue(r.Context(), placeKey{}, at))
		r2.URL = &u
		next.ServeHTTP(w, r2)
	})
}
