package resource

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/octavo/octavo/internal/fault"
)

// Object is a resource as its client wrote it. Numbers are json.Number, so that none loses a digit.
type Object map[string]any

// Parse reads one JSON object. Text behind it is refused.
func Parse(b []byte) (Object, error) {
	v, err := parseAny(b)
	if err != nil {
		return nil, fault.Because(fault.Invalidf("The body is not valid JSON: %v.", err), err)
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, fault.Invalidf("The body must be a JSON object.")
	}
	return o, nil
}

func parseAny(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is text behind its end")
	}
	return v, nil
}

// ObjectOf turns a struct into an object, with the defaults [Fold] materialises.
func ObjectOf(v any) (Object, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	o, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return Fold(reflect.TypeOf(v), o), nil
}

// View reads an object as a struct.
func View[T any](o Object) (T, error) {
	var t T
	err := o.Into(&t)
	return t, err
}

// Into reads an object into a struct; what does not fit is refused by the member's name.
func (o Object) Into(v any) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return Decode(b, v)
}

// Decode is json.Unmarshal with an error a person can act on.
func Decode(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		return fault.Because(fault.InvalidField(wrong.Field, "%s must be %s, not %s.", wrong.Field, wanted(wrong.Type), wrong.Value), err)
	default:
		return fault.Because(fault.Invalidf("The body could not be read: %v.", err), err)
	}
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	default:
		return "a number"
	}
}

// Text gives a member that is a text; "" for anything else.
func (o Object) Text(name string) string {
	s, _ := o[name].(string)
	return s
}

// Flag gives a member that is a boolean; false for anything else.
func (o Object) Flag(name string) bool {
	b, _ := o[name].(bool)
	return b
}

// Int gives a member that is a whole number; 0 for anything else.
func (o Object) Int(name string) int64 {
	switch n := o[name].(type) {
	case json.Number:
		i, _ := n.Int64()
		return i
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// Texts gives the texts at a path such as "Phases.AutomaticDeploymentTargets"; lists on the way are walked through,
// and "*" walks through the values of a map, "@" through its keys.
func (o Object) Texts(path string) []string {
	var out []string
	walk(map[string]any(o), strings.Split(path, "."), &out)
	return out
}

func walk(v any, path []string, out *[]string) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			walk(e, path, out)
		}
	case Object:
		walk(map[string]any(v), path, out)
	case map[string]any:
		switch {
		case len(path) == 0:
		case path[0] == "*":
			for _, e := range v {
				walk(e, path[1:], out)
			}
		case path[0] == "@":
			for k := range v {
				*out = append(*out, k)
			}
		default:
			walk(v[path[0]], path[1:], out)
		}
	case string:
		if len(path) == 0 && v != "" {
			*out = append(*out, v)
		}
	case bool:
		if len(path) == 0 {
			*out = append(*out, strconv.FormatBool(v))
		}
	case json.Number:
		if len(path) == 0 {
			*out = append(*out, v.String())
		}
	}
}

// Clone copies an object deeply.
func (o Object) Clone() Object { return cloneAny(map[string]any(o)).(map[string]any) }

func cloneAny(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = cloneAny(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = cloneAny(e)
		}
		return c
	default:
		return v
	}
}

// Fold gives an object the member names and defaults of a struct type; see the package's story for the rules.
func Fold(t reflect.Type, o Object) Object {
	folded, _ := fold(deref(t), map[string]any(o)).(map[string]any)
	return folded
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// field is one member of a struct, as the wire knows it.
type field struct {
	name string
	typ  reflect.Type
	omit bool
}

// shape is the members of a struct type by name, and by folded name.
type shape struct {
	fields []field
	exact  map[string]int
	folded map[string]int
}

var shapes sync.Map // reflect.Type -> *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{exact: map[string]int{}, folded: map[string]int{}}
	s.add(t)
	for i, f := range s.fields {
		s.exact[f.name] = i
		s.folded[strings.ToLower(f.name)] = i
	}
	shapes.Store(t, s)
	return s
}

func (s *shape) add(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && deref(f.Type).Kind() == reflect.Struct {
			s.add(deref(f.Type))
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		s.fields = append(s.fields, field{name, f.Type, strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")})
	}
}

var (
	properties   = reflect.TypeFor[PropertyValue]()
	sensitive    = reflect.TypeFor[SensitiveValue]()
	unmarshaller = reflect.TypeFor[json.Unmarshaler]()
	textReader   = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// opaque types read themselves; we leave what was sent alone.
func opaque(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshaller) || p.Implements(textReader)
}

func fold(t reflect.Type, v any) any {
	t = deref(t)
	switch {
	case t == properties:
		return foldProperty(v)
	case opaque(t) && t.Kind() != reflect.Map:
		return v
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			return foldStruct(shapeOf(t), m)
		}
	case reflect.Map:
		if m, ok := v.(map[string]any); ok {
			for k, e := range m {
				m[k] = fold(t.Elem(), e)
			}
		}
	case reflect.Slice:
		if l, ok := v.([]any); ok {
			for i, e := range l {
				l[i] = fold(t.Elem(), e)
			}
		}
	case reflect.String: // old clients send numbers and booleans for texts
		switch v := v.(type) {
		case json.Number:
			return v.String()
		case bool:
			return strconv.FormatBool(v)
		}
	case reflect.Bool:
		if s, ok := v.(string); ok {
			if b, err := strconv.ParseBool(strings.ToLower(s)); err == nil {
				return b
			}
		}
	case reflect.Int, reflect.Int64, reflect.Int32:
		if s, ok := v.(string); ok {
			if _, err := strconv.ParseInt(s, 10, 64); err == nil {
				return json.Number(s)
			}
		}
	}
	return v
}

// foldProperty makes a text or a sensitive object of what a client sent for a property; null is "".
func foldProperty(v any) any {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		if v {
			return "True"
		}
		return "False"
	case json.Number:
		return v.String()
	case map[string]any:
		return foldStruct(shapeOf(sensitive), v)
	default:
		return v
	}
}

func foldStruct(s *shape, m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) { // in order, so that of two spellings the same one wins always
		v := m[k]
		i, ok := s.exact[k]
		if !ok {
			if i, ok = s.folded[strings.ToLower(k)]; !ok {
				out[k] = v
				continue
			}
			_, exact := m[s.fields[i].name]
			if _, earlier := out[s.fields[i].name]; exact || earlier {
				continue
			}
		}
		f := s.fields[i]
		if v == nil && f.typ.Kind() != reflect.Pointer && deref(f.typ).Kind() != reflect.String && !f.omit {
			continue // the default below takes its place
		}
		out[f.name] = fold(f.typ, v)
	}
	for _, f := range s.fields {
		if _, sent := out[f.name]; sent || f.omit {
			continue
		}
		if v, ok := zero(f.typ); ok {
			out[f.name] = v
		}
	}
	return out
}

// zero is what stands for an absent member; texts and pointers stay absent.
func zero(t reflect.Type) (any, bool) {
	if opaque(t) && t.Kind() != reflect.Map {
		return nil, false
	}
	switch t.Kind() {
	case reflect.Slice:
		return []any{}, true
	case reflect.Map:
		return map[string]any{}, true
	case reflect.Bool:
		return false, true
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return json.Number("0"), true
	case reflect.Struct:
		return foldStruct(shapeOf(t), map[string]any{}), true
	}
	return nil, false
}
