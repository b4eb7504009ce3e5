package resource

import (
	"reflect"
	"strconv"
)

// EachSensitive calls do with every sensitive value of an object and the path that names it from one version of the
// object to the next: elements of a list are named by their Id, else their Name, else their place.
func EachSensitive(t reflect.Type, o Object, do func(path string, value map[string]any) error) error {
	return eachSensitive(deref(t), map[string]any(o), "", do)
}

func eachSensitive(t reflect.Type, v any, path string, do func(string, map[string]any) error) error {
	t = deref(t)
	switch {
	case t == properties || t == sensitive:
		if m, ok := v.(map[string]any); ok {
			return do(path, m)
		}
		return nil
	case opaque(t) && t.Kind() != reflect.Map:
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		for _, f := range shapeOf(t).fields {
			if e, has := m[f.name]; has {
				if err := eachSensitive(f.typ, e, path+"."+f.name, do); err != nil {
					return err
				}
			}
		}
	case reflect.Map:
		m, _ := v.(map[string]any)
		for k, e := range m {
			if err := eachSensitive(t.Elem(), e, path+"."+k, do); err != nil {
				return err
			}
		}
	case reflect.Slice:
		l, _ := v.([]any)
		for i, e := range l {
			name := strconv.Itoa(i)
			if m, ok := e.(map[string]any); ok {
				if s, _ := m["Id"].(string); s != "" {
					name = s
				} else if s, _ := m["Name"].(string); s != "" {
					name = s
				}
			}
			if err := eachSensitive(t.Elem(), e, path+"["+name+"]", do); err != nil {
				return err
			}
		}
	}
	return nil
}

// HideSensitive replaces every sensitive value by what may leave the server: that there is one, and its hint.
func HideSensitive(t reflect.Type, o Object) {
	_ = EachSensitive(t, o, func(_ string, m map[string]any) error {
		secret, _ := m["SecretId"].(string)
		m["HasValue"] = secret != ""
		m["NewValue"] = nil
		if _, has := m["Hint"]; !has {
			m["Hint"] = nil
		}
		delete(m, "SecretId")
		return nil
	})
}
