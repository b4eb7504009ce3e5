package api

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/resource"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// pageOf and listOf name what a kind's lists hold; a stored resource is an Object in Go, whatever its kind.
func pageOf(k *control.Kind) reflect.Type { return containerOf(k.Type, true) }
func listOf(k *control.Kind) reflect.Type { return containerOf(k.Type, false) }

// containers are the lists of kinds, by element: a type made for the document only.
func containerOf(element reflect.Type, paged bool) reflect.Type {
	if !paged {
		return reflect.SliceOf(element)
	}
	fields := []reflect.StructField{}
	p := typeOf[page]()
	for i := range p.NumField() {
		f := p.Field(i)
		if f.Name == "Items" {
			f.Type = reflect.SliceOf(element)
		}
		fields = append(fields, reflect.StructField{Name: f.Name, Type: f.Type})
	}
	return reflect.StructOf(fields)
}

// schemas gathers the named types of a document, each under a name of its own.
type schemas struct {
	named map[string]any
	names map[reflect.Type]string
}

// name gives a type's name, with its package in front where another one has the same.
func (s schemas) name(t reflect.Type) string {
	if n, ok := s.names[t]; ok {
		return n
	}
	n := t.Name()
	if _, taken := s.named[n]; taken {
		pkg := t.PkgPath()[strings.LastIndexByte(t.PkgPath(), '/')+1:]
		n = strings.ToUpper(pkg[:1]) + pkg[1:] + n
	}
	s.names[t] = n
	return n
}

// openAPI makes the document of the table: OpenAPI 3.0.3.
func openAPI(routes []route) ([]byte, error) {
	types := schemas{map[string]any{}, map[reflect.Type]string{}}
	types.named["Error"] = types.structure(typeOf[failure]())
	paths := map[string]map[string]any{}
	for _, r := range routes {
		path := "/api" + r.path
		switch {
		case strings.HasPrefix(r.path, "!"):
			path = r.path[1:]
		case r.path == "/":
			path = "/api"
		case r.path == spaceRoot:
			path = "/api/{spaceId}"
		case r.scope == space:
			path = "/api/{spaceId}" + r.path
		}
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(r.method)] = r.operation(path, types)
	}
	return json.MarshalIndent(map[string]any{
		"openapi": "3.0.3",
		"info":    map[string]any{"title": "Octavo", "version": Version, "description": "Every space-scoped path may also be written /api/spaces/{id or slug}/... and, for the default space, /api/...."},
		"paths":   paths,
		"components": map[string]any{
			"schemas":         types.named,
			"securitySchemes": map[string]any{"ApiKey": map[string]any{"type": "apiKey", "in": "header", "name": "X-Octopus-ApiKey"}},
		},
	}, "", " ")
}

func (r route) operation(path string, types schemas) map[string]any {
	var parameters []any
	for _, part := range strings.Split(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			parameters = append(parameters, map[string]any{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
	}
	for _, name := range r.query {
		parameters = append(parameters, map[string]any{"name": name, "in": "query", "schema": map[string]any{"type": "string"}})
	}
	answer := map[string]any{"description": "What was asked for."}
	switch {
	case r.answer != "":
		answer["content"] = map[string]any{r.answer: map[string]any{"schema": map[string]any{"type": "string"}}}
	case r.out != nil && r.out != typeOf[done]() && r.out != typeOf[stated]():
		answer["content"] = media(types.of(r.out))
	}
	failed := map[string]any{"description": "What went wrong.", "content": media(map[string]any{"$ref": "#/components/schemas/Error"})}
	op := map[string]any{
		"operationId": strings.ToLower(r.method) + strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_", "-", "_").Replace(path),
		"tags":        []string{strings.Split(strings.TrimLeft(r.path, "/!"), "/")[0]},
		"description": "Permission: " + string(r.permission),
		"responses":   map[string]any{status(r.status): answer, "default": failed},
	}
	if r.permission != "-" {
		op["security"] = []any{map[string]any{"ApiKey": []string{}}}
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	switch {
	case r.body != "":
		op["requestBody"] = map[string]any{"content": map[string]any{r.body: map[string]any{"schema": map[string]any{"type": "string", "format": "binary"}}}}
	case r.in != nil:
		op["requestBody"] = map[string]any{"required": true, "content": media(types.of(r.in))}
	}
	return op
}

func status(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func media(schema any) map[string]any {
	return map[string]any{"application/json": map[string]any{"schema": schema}}
}

// of gives a type's schema; named structs become components.
func (s schemas) of(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		inner := s.of(t.Elem())
		if ref, ok := inner["$ref"]; ok {
			return map[string]any{"nullable": true, "allOf": []any{map[string]any{"$ref": ref}}}
		}
		inner["nullable"] = true
		return inner
	case t == typeOf[resource.Time]():
		return map[string]any{"type": "string", "format": "date-time", "nullable": true}
	case t == typeOf[resource.PropertyValue]():
		return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, s.of(typeOf[resource.SensitiveValue]())}}
	case t == typeOf[resource.Object]():
		return map[string]any{"type": "object"}
	}
	switch t.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		if t.Name() == "" || strings.Contains(t.Name(), "[") {
			return s.structure(t)
		}
		_, known := s.names[t]
		name := s.name(t)
		if !known {
			s.named[name] = map[string]any{} // breaks circles
			s.named[name] = s.structure(t)
		}
		return map[string]any{"$ref": "#/components/schemas/" + name}
	default: // any
		return map[string]any{}
	}
}

func (s schemas) structure(t reflect.Type) map[string]any {
	properties := map[string]any{}
	s.fields(t, properties)
	return map[string]any{"type": "object", "properties": properties}
}

func (s schemas) fields(t reflect.Type, properties map[string]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			s.fields(f.Type, properties)
		case !f.IsExported() || name == "-" || f.Name == "SecretId": // a secret's place never travels
		default:
			if name == "" {
				name = f.Name
			}
			schema := s.of(f.Type)
			if f.Type.Kind() == reflect.String { // a client's null comes back as null; lists and maps are never null
				schema["nullable"] = true
			}
			properties[name] = schema
		}
	}
}
