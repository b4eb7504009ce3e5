// Package resource holds what every stored resource shares: its identity, sensitive values,
// the time format of the wire, and the round trip of members we do not know.
package resource

import (
	"encoding/json"
	"fmt"
	"time"
)

// Meta is embedded first in every resource.
type Meta struct {
	Id      string            `json:",omitempty"` //nolint:revive // the wire's name
	SpaceId string            `json:",omitempty"`
	Links   map[string]string `json:",omitempty"`
}

// TimeFormat is the wire's: an offset is required, milliseconds are kept (rest-api.md 1).
const TimeFormat = "2006-01-02T15:04:05.000-07:00"

// Time is a moment on the wire. It is always written in UTC.
type Time struct{ time.Time }

// MarshalJSON writes TimeFormat; the zero time is null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(TimeFormat) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" || string(b) == `""` {
		*t = Time{}
		return nil
	}
	return t.Time.UnmarshalJSON(b)
}

// SensitiveValue is a secret on the wire. In documents at rest only SecretId is kept;
// NewValue only ever travels in, HasValue and Hint only out.
type SensitiveValue struct {
	HasValue bool
	Hint     *string
	NewValue *string
	SecretId string `json:",omitempty"`
}

// PropertyValue is a string or a sensitive value (Steps[].Properties).
type PropertyValue struct {
	Value     string
	Sensitive *SensitiveValue
}

// Properties are a step's or an action's; keys keep their case.
type Properties map[string]PropertyValue

// Get gives a plain value; "" for an absent or sensitive one.
func (p Properties) Get(name string) string { return p[name].Value }

// MarshalJSON writes a string, or the sensitive form.
func (v PropertyValue) MarshalJSON() ([]byte, error) {
	if v.Sensitive != nil {
		return json.Marshal(v.Sensitive)
	}
	return json.Marshal(v.Value)
}

// UnmarshalJSON reads a string, a sensitive object, or (from old clients) a bare number or boolean. Null is "".
func (v *PropertyValue) UnmarshalJSON(b []byte) error {
	*v = PropertyValue{}
	switch {
	case len(b) == 0 || string(b) == "null":
		return nil
	case b[0] == '"':
		return json.Unmarshal(b, &v.Value)
	case b[0] == '{':
		v.Sensitive = new(SensitiveValue)
		return json.Unmarshal(b, v.Sensitive)
	case string(b) == "true":
		v.Value = "True"
	case string(b) == "false":
		v.Value = "False"
	case b[0] == '[':
		return fmt.Errorf("a property is a text or a sensitive value, not a list")
	default:
		v.Value = string(b)
	}
	return nil
}
