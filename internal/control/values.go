package control

import (
	"encoding/json"
	"net"
	"strconv"

	"github.com/google/uuid"

	"github.com/octavo/octavo/internal/resource"
)

// objects gives the objects of a list as they lie in it, so that they can be changed in place.
func objects(v any) []resource.Object {
	list, _ := v.([]any)
	var out []resource.Object
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// object gives a member that is an object, making it where there is none.
func object(o resource.Object, member string) resource.Object {
	m, ok := o[member].(map[string]any)
	if !ok {
		m = map[string]any{}
		o[member] = m
	}
	return m
}

func number(n int) json.Number { return json.Number(strconv.Itoa(n)) }

func newGUID() string { return uuid.NewString() }

func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
