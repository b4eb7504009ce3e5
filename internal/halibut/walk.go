package halibut

import "reflect"

// streamsIn finds the data streams that a value holds, in the order in which they are written.
func streamsIn(values ...any) []*DataStream {
	var found []*DataStream
	for _, v := range values {
		findStreams(reflect.ValueOf(v), &found)
	}
	return found
}

func findStreams(v reflect.Value, found *[]*DataStream) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.CanInterface() {
			if s, ok := v.Interface().(*DataStream); ok {
				*found = append(*found, s)
				return
			}
		}
		findStreams(v.Elem(), found)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				findStreams(v.Field(i), found)
			}
		}
	case reflect.Slice, reflect.Array:
		if mayHoldStream(v.Type().Elem()) {
			for i := range v.Len() {
				findStreams(v.Index(i), found)
			}
		}
	}
}

// mayHoldStream spares us from visiting every byte and line of a log.
func mayHoldStream(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Array:
		return true
	}
	return false
}
