package halibut

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// GUID is a .NET Guid in its wire order: the first three groups little-endian (tentacle-protocol.md 1.9).
type GUID [16]byte

// NewGUID makes a random one.
func NewGUID() GUID {
	var g GUID
	_, _ = rand.Read(g[:]) // crypto/rand never fails
	g[7] = g[7]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

// ParseGUID reads the usual text form.
func ParseGUID(text string) (GUID, error) {
	var g GUID
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		return g, fmt.Errorf("%q is not a GUID", text)
	}
	copy(g[:], b)
	return g.swapped(), nil
}

// String is the text form, as .NET prints it.
func (g GUID) String() string {
	s := g.swapped()
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[0:4], s[4:6], s[6:8], s[8:10], s[10:])
}

// swapped changes between wire order and text order; it is its own inverse.
func (g GUID) swapped() GUID {
	return GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// MarshalBSONValue writes binary subtype 4.
func (g GUID) MarshalBSONValue() (byte, []byte, error) {
	typ, data, err := bson.MarshalValue(bson.Binary{Subtype: 0x04, Data: g[:]})
	return byte(typ), data, err
}

// UnmarshalBSONValue takes what .NET takes: subtype 3 or 4, or the text form.
func (g *GUID) UnmarshalBSONValue(typ byte, data []byte) error {
	v := bson.RawValue{Type: bson.Type(typ), Value: data}
	if text, ok := v.StringValueOK(); ok {
		parsed, err := ParseGUID(text)
		*g = parsed
		return err
	}
	subtype, b, ok := v.BinaryOK()
	if !ok || len(b) != 16 || (subtype != 0x03 && subtype != 0x04) {
		return errors.New("not a GUID")
	}
	copy(g[:], b)
	return nil
}
