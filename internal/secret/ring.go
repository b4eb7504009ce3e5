package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

const (
	form      = 1
	keyIDLen  = 8
	headerLen = 1 + keyIDLen
)

// Ring is the master keys of this node. The first one seals; all of them open.
type Ring struct {
	keys []masterKey
}

type masterKey struct {
	id   string // hex
	text []byte
}

// Place is where a sealed value lives. It opens nowhere else.
type Place struct {
	Table, Column, Row, Space string
}

// NewKey makes a master key, in the form it has in files and settings.
func NewKey() string {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // it never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b)
}

// NewRing reads master keys: base64, separated by blanks, line ends or commas; the first one seals.
func NewRing(text string) (*Ring, error) {
	r := &Ring{}
	for i, word := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\r\n,", c) }) {
		b, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			return nil, fault.InvalidField("master-key", "Master key %d is not base64. Copy it whole, with the = at its end, as show-master-key prints it.", i+1)
		}
		if len(b) != 32 && len(b) != 16 {
			return nil, fault.InvalidField("master-key", "Master key %d has %d bytes; it must have 32 (or 16). Copy it whole, as show-master-key prints it.", i+1, len(b))
		}
		k := masterKey{text: b}
		id, err := hkdf.Key(sha256.New, b, nil, "octavo key id", keyIDLen)
		if err != nil {
			return nil, fmt.Errorf("id of master key: %w", err)
		}
		k.id = hex.EncodeToString(id)
		if r.find(k.id) == nil {
			r.keys = append(r.keys, k)
		}
	}
	if len(r.keys) == 0 {
		return nil, fault.InvalidField("master-key", "There is no master key in it. Copy the key from another node, as show-master-key prints it.")
	}
	return r, nil
}

// KeyID names the key that seals; it tells nothing about the key itself.
func (r *Ring) KeyID() string { return r.keys[0].id }

// KeyIDs names all keys of the ring.
func (r *Ring) KeyIDs() []string {
	var ids []string
	for _, k := range r.keys {
		ids = append(ids, k.id)
	}
	return ids
}

// String names the keys, so that a ring that is printed by accident gives nothing away.
func (r *Ring) String() string { return "master keys " + strings.Join(r.KeyIDs(), ", ") }

// Reveal is the keys themselves, one a line, as NewRing reads them: for key files and show-master-key.
func (r *Ring) Reveal() string {
	var b strings.Builder
	for _, k := range r.keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k.text) + "\n")
	}
	return b.String()
}

func (r *Ring) find(id string) *masterKey {
	i := slices.IndexFunc(r.keys, func(k masterKey) bool { return k.id == id })
	if i < 0 {
		return nil
	}
	return &r.keys[i]
}

// Seal encrypts a value for its place.
func (r *Ring) Seal(at Place, plain []byte) ([]byte, error) {
	k := &r.keys[0]
	aead, err := k.cipher(at)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(k.id)
	if err != nil {
		return nil, err
	}
	out := append([]byte{form}, id...)
	return aead.Seal(out, nil, plain, bound(out, at)), nil // the nonce is made and put in front by aead
}

// Open decrypts a value. It fails when the value was sealed for another place or was changed, and names the
// key when this node does not have it.
func (r *Ring) Open(at Place, sealed []byte) ([]byte, error) {
	if len(sealed) < headerLen || sealed[0] != form {
		return nil, fmt.Errorf("%s.%s of %q is not a sealed value", at.Table, at.Column, at.Row)
	}
	header := sealed[:headerLen]
	id := hex.EncodeToString(header[1:])
	k := r.find(id)
	if k == nil {
		return nil, fmt.Errorf("%s.%s of %q is sealed with master key %s, which this node does not have; it has %s",
			at.Table, at.Column, at.Row, id, strings.Join(r.KeyIDs(), ", "))
	}
	aead, err := k.cipher(at)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[headerLen:], bound(header, at))
	if err != nil {
		return nil, fmt.Errorf("%s.%s of %q does not open: it was changed, or copied from another place: %w", at.Table, at.Column, at.Row, err)
	}
	return plain, nil
}

// cipher derives the key of a purpose and a space.
func (k *masterKey) cipher(at Place) (cipher.AEAD, error) {
	info := lengths([]byte("octavo seal"), at.Table, at.Column, at.Space)
	b, err := hkdf.Key(sha256.New, k.text, nil, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(b)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func bound(header []byte, at Place) []byte {
	return lengths(slices.Clone(header), at.Table, at.Column, at.Row, at.Space)
}

// lengths joins words so that no two lists of words give the same bytes.
func lengths(b []byte, words ...string) []byte {
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, uint32(len(w)))
		b = append(b, w...)
	}
	return b
}
