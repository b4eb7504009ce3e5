package api

import (
	"maps"
	"strings"

	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/resource"
)

// present is the one place where a stored document becomes what leaves the server: secrets hidden, links added.
func present(k *control.Kind, o resource.Object) resource.Object {
	o = maps.Clone(o)
	resource.HideSensitive(k.Type, o)
	o["Links"] = linksOf(k.Links, o)
	return o
}

func presentAll(k *control.Kind, list []resource.Object) []resource.Object {
	out := make([]resource.Object, len(list))
	for i, o := range list {
		out[i] = present(k, o)
	}
	return out
}

// linksOf fills the members of a resource into its kind's link templates. A link whose member is empty is left out.
func linksOf(templates map[string]string, o resource.Object) map[string]any {
	base := "/api"
	if s := o.Text("SpaceId"); s != "" {
		base += "/" + s
	}
	links := make(map[string]any, len(templates))
	for name, t := range templates {
		if link, ok := expand(t, base, o); ok {
			links[name] = link
		}
	}
	return links
}

// expand replaces {space} and every {Member} that begins with a capital; the rest is for the client.
func expand(template, base string, o resource.Object) (string, bool) {
	var b strings.Builder
	for {
		open := strings.IndexByte(template, '{')
		if open < 0 {
			b.WriteString(template)
			return b.String(), true
		}
		end := strings.IndexByte(template[open:], '}') + open
		name := template[open+1 : end]
		b.WriteString(template[:open])
		switch {
		case name == "space":
			b.WriteString(base)
		case name != "" && name[0] >= 'A' && name[0] <= 'Z':
			v := o.Text(name)
			if v == "" {
				return "", false
			}
			b.WriteString(v)
		default:
			b.WriteString(template[open : end+1])
		}
		template = template[end+1:]
	}
}
