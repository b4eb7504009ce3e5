package script

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/octavo/octavo/internal/fault"
)

// Variable is one evaluated value handed to a script or to the target tool (tentacle-protocol.md 4.3). A nil Value is null.
type Variable struct {
	Name      string  `json:"k"`
	Value     *string `json:"v"`
	Sensitive bool    `json:"s"`
}

// Text is the value, "" for null.
func (v Variable) Text() string {
	if v.Value == nil {
		return ""
	}
	return *v.Value
}

// NewVariable makes a plain or sensitive variable.
func NewVariable(name, value string, sensitive bool) Variable {
	return Variable{name, &value, sensitive}
}

const (
	magic     = "IV__"
	kdfSalt   = "Octopuss"
	kdfRounds = 1000
)

// NewPassword gives a random password of 128 bits for Seal and SealVariables.
func NewPassword() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// SealVariables writes the variables file, encrypted with password (tentacle-protocol.md 4.3, 4.4).
func SealVariables(variables []Variable, password string) ([]byte, error) {
	if variables == nil {
		variables = []Variable{}
	}
	plain, err := json.Marshal(variables)
	if err != nil {
		return nil, fmt.Errorf("variables file: %w", err)
	}
	return Seal(plain, password, 32)
}

// OpenVariables reads a variables file; password "" means that it is not encrypted.
func OpenVariables(file []byte, password string) ([]Variable, error) {
	if password != "" {
		plain, err := Open(file, password, 32)
		if err != nil {
			return nil, err
		}
		file = plain
	}
	var variables []Variable
	if err := json.Unmarshal(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")), &variables); err != nil {
		return nil, fault.Because(fault.Invalidf("The variables file is not a JSON array of {k, v, s}; was the password left out?"), err)
	}
	return variables, nil
}

// Seal encrypts as agents and Calamari expect it (tentacle-protocol.md 4.4); keyBytes is 32 for variables and 16 for script files.
// The derivation is weak by today's measure, so the password must be random (NewPassword).
func Seal(plain []byte, password string, keyBytes int) ([]byte, error) {
	block, err := blockCipher(password, keyBytes)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	sealed := make([]byte, 0, len(magic)+aes.BlockSize+len(plain)+pad)
	sealed = append(sealed, magic...)
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv) // never fails
	sealed = append(sealed, iv...)
	start := len(sealed)
	sealed = append(append(sealed, plain...), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed[start:], sealed[start:])
	return sealed, nil
}

// Open decrypts what Seal made.
func Open(sealed []byte, password string, keyBytes int) ([]byte, error) {
	wrong := fault.Invalidf("The file cannot be decrypted: it is damaged, or the password is another one.")
	body, ok := bytes.CutPrefix(sealed, []byte(magic))
	if !ok || len(body) < 2*aes.BlockSize || len(body)%aes.BlockSize != 0 {
		return nil, wrong
	}
	block, err := blockCipher(password, keyBytes)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(body)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, body[:aes.BlockSize]).CryptBlocks(plain, body[aes.BlockSize:])
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, wrong
	}
	return plain[:len(plain)-pad], nil
}

func blockCipher(password string, keyBytes int) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha1.New, password, []byte(kdfSalt), kdfRounds, keyBytes)
	if err != nil {
		return nil, fmt.Errorf("key derivation: %w", err)
	}
	return aes.NewCipher(key)
}
