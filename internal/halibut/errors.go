package halibut

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ConnectError is a failure before a byte of the request was sent: nothing ran (tentacle-protocol.md 1.13).
type ConnectError struct {
	Endpoint string
	Err      error
}

// Error names the endpoint.
func (e *ConnectError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Endpoint, e.Err) }

// Unwrap gives the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// TransferError is a failure after the request began to be sent: whether it ran is unknown.
type TransferError struct {
	Endpoint string
	Err      error
}

// Error names the endpoint.
func (e *TransferError) Error() string {
	return fmt.Sprintf("call to %s was interrupted: %v", e.Endpoint, e.Err)
}

// Unwrap gives the cause.
func (e *TransferError) Unwrap() error { return e.Err }

// CertificateError is a peer whose certificate is not the one that is trusted.
type CertificateError struct {
	Expected, Actual string
}

// Error shows both thumbprints.
func (e *CertificateError) Error() string {
	return fmt.Sprintf("the peer presented a certificate with thumbprint %s, but %s is trusted", e.Actual, e.Expected)
}

// Class is what kind of failure an agent reported.
type Class int

// The classes, in the order of tentacle-protocol.md 1.13.
const (
	Other Class = iota
	NoService
	NoMethod
	Ambiguous
	ServiceThrew
)

// RemoteError is a failure that the agent reported: the connection was fine.
type RemoteError struct {
	Service, Method  string
	Message, Details string
	Type             string // HalibutErrorType, often empty
	Class            Class
}

// Error is the agent's message; the details belong in a log.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("%s.%s failed on the agent: %s", e.Service, e.Method, e.Message)
}

// NeverSent says that nothing of the request left us, so nothing ran.
func NeverSent(err error) bool {
	var connect *ConnectError
	return errors.As(err, &connect)
}

// Retryable says whether the same call may do better later (tentacle-protocol.md 1.13).
// It does not say that the call is safe to repeat: StartScript of V1 is not.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return false
	}
	if certificate := (*CertificateError)(nil); errors.As(err, &certificate) {
		return false
	}
	if remote := (*RemoteError)(nil); errors.As(err, &remote) {
		return remote.Class == Other && remote.Type != "System.IO.FileNotFoundException" &&
			!strings.Contains(remote.Details, "System.IO.FileNotFoundException") && !strings.HasPrefix(remote.Type, "Octavo.")
	}
	return NeverSent(err) || isTransfer(err)
}

func isTransfer(err error) bool {
	var transfer *TransferError
	return errors.As(err, &transfer)
}

// ErrClosed is a call on something that was closed.
var ErrClosed = errors.New("halibut: closed")
