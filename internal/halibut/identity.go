package halibut

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the wire's thumbprints are SHA-1; we check SHA-256 as well where we know it
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Identity is our certificate with its key: one for a whole cluster of servers, one for each agent (tentacle-protocol.md 1.3).
type Identity struct {
	Thumbprint string // SHA-1 of the certificate, upper-case hex: peers compare it case-sensitively
	SHA256     string // the same with SHA-256

	certificate tls.Certificate
}

// NewIdentity makes a self-signed certificate, RSA 2048, for 100 years, as Tentacle does.
func NewIdentity(commonName string) (*Identity, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63-1))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	name := pkix.Name{CommonName: commonName}
	// No key usages: the certificate is shown in both roles.
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      name, Issuer: name,
		NotBefore: now.AddDate(0, 0, -1), NotAfter: now.AddDate(100, 0, 0),
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return newIdentity(der, key), nil
}

func newIdentity(der []byte, key crypto.PrivateKey) *Identity {
	sha1, sha256 := Thumbprints(der)
	return &Identity{sha1, sha256, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// ParseIdentity reads what PEM wrote: a CERTIFICATE block and a PRIVATE KEY block.
func ParseIdentity(text []byte) (*Identity, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("not a certificate with its private key in PEM: %w", err)
	}
	return newIdentity(pair.Certificate[0], pair.PrivateKey), nil
}

// PEM is the certificate and the private key, to be kept secret.
func (id *Identity) PEM() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(id.certificate.PrivateKey)
	if err != nil {
		return nil, err
	}
	return append(id.CertificatePEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// CertificatePEM is the public part.
func (id *Identity) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.certificate.Certificate[0]})
}

// Thumbprints are the SHA-1 and the SHA-256 of a certificate, in upper-case hex.
func Thumbprints(der []byte) (sha1hex, sha256hex string) {
	one, two := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // see above
	return strings.ToUpper(hex.EncodeToString(one[:])), strings.ToUpper(hex.EncodeToString(two[:]))
}

// acceptConfig asks for a certificate and does not insist: a browser and a Tentacle's probe have none and get a page.
func (id *Identity) acceptConfig() *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{id.certificate},
		ClientAuth:             tls.RequestClientCert,
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
	}
}

// dialConfig shows our certificate whatever issuers the peer lists, and trusts exactly one certificate.
func (id *Identity) dialConfig(to Endpoint, host string) *tls.Config {
	return &tls.Config{
		ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &id.certificate, nil
		},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // trust is by thumbprint, checked in VerifyConnection
		VerifyConnection:   func(state tls.ConnectionState) error { return to.verify(state) },
	}
}

// verify compares the peer's certificate with the one that is trusted.
func (e Endpoint) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer has no certificate")
	}
	sha1, sha256 := Thumbprints(state.PeerCertificates[0].Raw)
	if !strings.EqualFold(sha1, e.Thumbprint) {
		return &CertificateError{Expected: e.Thumbprint, Actual: sha1}
	}
	if e.SHA256 != "" && !strings.EqualFold(sha256, e.SHA256) {
		return &CertificateError{Expected: e.SHA256, Actual: sha256}
	}
	return nil
}

// Peer is who is at the other end of a connection.
type Peer struct {
	Thumbprint   string // SHA-1 of its certificate, upper-case hex; empty when it showed none
	SHA256       string
	Subscription string // of a polling agent, in NormalSubscription's form
	Address      string // the remote address, for logs
}

func newPeer(state tls.ConnectionState, address string) Peer {
	peer := Peer{Address: address}
	if len(state.PeerCertificates) > 0 {
		peer.Thumbprint, peer.SHA256 = Thumbprints(state.PeerCertificates[0].Raw)
	}
	return peer
}
