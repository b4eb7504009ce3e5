package api

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// scope says what a path without a space means.
type scope int

const (
	server scope = iota // no space at all
	space               // the default space
	mixed               // all spaces and the server
)

// route is one row of the table.
type route struct {
	method     string
	path       string // below /api
	scope      scope
	permission access.Permission
	query      []string // names of the query's members, for the document
	in, out    reflect.Type
	status     int
	body       string // media type of the body where it is not JSON
	answer     string // media type of the answer where it is not JSON
	serve      func(*call) (any, error)
}

// get declares a read.
func get[Out any](s scope, path string, p access.Permission, query string, do func(*call) (Out, error)) route {
	return route{
		method: http.MethodGet, path: path, scope: s, permission: p, query: names(query), out: reflect.TypeFor[Out](), status: http.StatusOK,
		serve: func(c *call) (any, error) { return do(c) },
	}
}

// send declares a write with a body; its method is POST or PUT.
func send[In, Out any](method string, status int, s scope, path string, p access.Permission, query string, do func(*call, In) (Out, error)) route {
	return route{
		method: method, path: path, scope: s, permission: p, query: names(query), in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](), status: status,
		serve: func(c *call) (any, error) {
			in, err := decode[In](c)
			if err != nil {
				return nil, err
			}
			return do(c, in)
		},
	}
}

// act declares a write without a body.
func act[Out any](method string, s scope, path string, p access.Permission, query string, do func(*call) (Out, error)) route {
	return route{
		method: method, path: path, scope: s, permission: p, query: names(query), out: reflect.TypeFor[Out](), status: http.StatusOK,
		serve: func(c *call) (any, error) { return do(c) },
	}
}

// typed tells the document what the objects of a kind look like.
func (r route) typed(in, out reflect.Type) route {
	if r.in != nil {
		r.in = in
	}
	r.out = out
	return r
}

func names(query string) []string { return strings.Fields(strings.ReplaceAll(query, ",", " ")) }

// empty is the body of an answer that has nothing to say.
type empty struct{}

// decode reads the body, whatever the case of its members; members it does not know are ignored. Clients send "null" for
// no body.
func decode[In any](c *call) (In, error) {
	var in In
	b, err := c.read()
	if err != nil {
		return in, err
	}
	t := reflect.TypeFor[In]()
	if t.Kind() == reflect.Slice {
		return in, resource.Decode(b, &in)
	}
	if text := strings.TrimSpace(string(b)); text == "" || text == "null" {
		if t == reflect.TypeFor[resource.Object]() {
			return in, fault.Invalidf("The request has no body. Please send the resource as JSON.")
		}
		return in, nil
	}
	o, err := resource.Parse(b)
	if err != nil {
		return in, err
	}
	if t == reflect.TypeFor[resource.Object]() {
		return any(o).(In), nil
	}
	return in, resource.Fold(t, o).Into(&in)
}
