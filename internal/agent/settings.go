//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
)

// CommunicationStyle says who dials: the server a listening agent (Passive), or a polling agent the server (Active).
type CommunicationStyle string

// The styles, in the wire's words.
const (
	Passive CommunicationStyle = "TentaclePassive"
	Active  CommunicationStyle = "TentacleActive"
)

// Server is one trusted server. All nodes of a cluster share one certificate (tentacle-protocol.md 3.4).
type Server struct {
	Thumbprint         string // SHA-1, upper-case hex
	CommunicationStyle CommunicationStyle
	Address            string `json:",omitempty"` // host:port, Active only
	SubscriptionId     string `json:",omitempty"` // Active only //nolint:revive // the wire's name
}

// Settings is agent.json. A running agent follows changes of it within seconds.
type Settings struct {
	Name               string // told to scripts as TentacleInstanceName
	Listen             string // host:port for servers that dial us
	NoListen           bool
	Applications       string // where packages are extracted
	PollingConnections int    `json:",omitempty"` // per polled server; 0 is 1
	Servers            []Server
}

// DefaultListen is where an agent listens unless told otherwise.
const DefaultListen = ":10933"

func settingsPath(data string) string { return filepath.Join(data, "agent.json") }

// LoadSettings reads the settings of a data directory; a new directory has defaults.
func LoadSettings(data string) (Settings, error) {
	s := Settings{Name: "Tentacle", Listen: DefaultListen, Applications: filepath.Join(data, "Applications")}
	_, err := readJSON(settingsPath(data), &s)
	if err != nil {
		return s, fault.Because(fault.Invalidf("The agent's settings cannot be read: %v.", err), err)
	}
	return s, nil
}

// UpdateSettings changes them; two commands at once do not undo each other.
func UpdateSettings(data string, change func(*Settings) error) error {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fault.Because(fault.Invalidf("The data directory %s cannot be used: %v.", data, err), err)
	}
	lock, err := os.OpenFile(filepath.Join(data, "settings.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fault.Because(fault.Invalidf("The data directory %s cannot be written: %v.", data, err), err)
	}
	defer lock.Close() // also unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	s, err := LoadSettings(data)
	if err != nil {
		return err
	}
	if err := change(&s); err != nil {
		return err
	}
	return writeJSON(settingsPath(data), s)
}

// Thumbprint checks and normalises one as a person types it: 40 hex digits.
func Thumbprint(text string) (string, error) {
	t := strings.ToUpper(strings.NewReplacer(" ", "", ":", "").Replace(text))
	if len(t) != 40 || strings.Trim(t, "0123456789ABCDEF") != "" {
		return "", fault.InvalidField("trust", "%q is not a thumbprint; it has 40 hex digits, as the server's `show-thumbprint` or its portal prints it.", text)
	}
	return t, nil
}

// Trust adds a server that may dial us.
func (s *Settings) Trust(thumbprint string) {
	for _, known := range s.Servers {
		if known.CommunicationStyle == Passive && strings.EqualFold(known.Thumbprint, thumbprint) {
			return
		}
	}
	s.Servers = append(s.Servers, Server{Thumbprint: thumbprint, CommunicationStyle: Passive})
}

// Distrust forgets a server, however it was reached; false when it was not known.
func (s *Settings) Distrust(thumbprint string) bool {
	n := len(s.Servers)
	s.Servers = slices.DeleteFunc(s.Servers, func(known Server) bool { return strings.EqualFold(known.Thumbprint, thumbprint) })
	return len(s.Servers) < n
}

// PollAt adds a server that we dial, or gives the one at this address its new trust.
func (s *Settings) PollAt(server Server) {
	server.CommunicationStyle = Active
	for i, known := range s.Servers {
		if known.CommunicationStyle == Active && strings.EqualFold(known.Address, server.Address) {
			s.Servers[i] = server
			return
		}
	}
	s.Servers = append(s.Servers, server)
}

// Listens says whether servers may dial us: not when told not to, and not when all servers are polled.
func (s *Settings) Listens() bool {
	polls := false
	for _, server := range s.Servers {
		if server.CommunicationStyle == Passive {
			return !s.NoListen
		}
		polls = true
	}
	return !s.NoListen && !polls
}

// LoadIdentity reads the agent's certificate, and makes one if there is none yet.
func LoadIdentity(data string) (*halibut.Identity, error) {
	text, err := os.ReadFile(certificatePath(data))
	if errors.Is(err, os.ErrNotExist) {
		return NewIdentity(data)
	}
	if err != nil {
		return nil, fault.Because(fault.Invalidf("The agent's certificate cannot be read: %v.", err), err)
	}
	id, err := halibut.ParseIdentity(text)
	if err != nil {
		return nil, fault.Because(fault.Invalidf("%s is damaged: %v. `new-certificate` makes a new one; servers must then trust it anew.", certificatePath(data), err), err)
	}
	return id, nil
}

// NewIdentity replaces the agent's certificate. Servers that trusted the old one must be told.
func NewIdentity(data string) (*halibut.Identity, error) {
	id, err := halibut.NewIdentity("Octopus Tentacle") // the name Tentacles have; peers do not look at it
	if err != nil {
		return nil, err
	}
	text, err := id.PEM()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fault.Because(fault.Invalidf("The data directory %s cannot be used: %v.", data, err), err)
	}
	if err := writeFile(certificatePath(data), text, 0o600); err != nil {
		return nil, fmt.Errorf("keep the certificate: %w", err)
	}
	return id, nil
}

func certificatePath(data string) string { return filepath.Join(data, "certificate.pem") }
