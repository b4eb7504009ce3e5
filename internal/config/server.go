package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Server holds every setting of a node (behaviour.md 1A, 1J-1L). Each node of a cluster has the same
// database, blobs and master key; the others may differ.
type Server struct {
	Database       string        `name:"database" default:"octavo-data/octavo.db" help:"path of an SQLite file, or postgres://user@host/name"`
	Blobs          string        `name:"blobs" default:"octavo-data/blobs" help:"where packages, artifacts and logs are, for all nodes: a folder they share, or s3://bucket/prefix?endpoint=https://host:port&region=name"`
	Listen         string        `name:"listen" default:"127.0.0.1:8080" help:"address of the REST API and the portal"`
	CommsListen    string        `name:"comms-listen" default:":10943" help:"address that polling agents call"`
	NodeName       string        `name:"node-name" default:"" help:"name of this node, unique in the cluster (default: the host's name)"`
	MasterKeyFile  string        `name:"master-key-file" default:"octavo-data/master.key" help:"file of the master key; made at the first start"`
	MasterKey      string        `name:"master-key" default:"" help:"the master key itself, instead of the file (better as OCTAVO_MASTER_KEY than as a flag)"`
	Data           string        `name:"data" default:"octavo-data" help:"folder of this node alone: its lock, and the scripts that run on the server"`
	Tools          string        `name:"tools" default:"octavo-data/tools" help:"folder of the octavo-agent binaries that are sent to unmodified Tentacles, by platform: linux-amd64/octavo-agent"`
	PublicURL      string        `name:"public-url" default:"" help:"address people use, for links in variables (default: http://<listen>)"`
	TaskCap        int           `name:"task-cap" default:"5" help:"how many tasks this node runs at once, when it registers for the first time"`
	TrustedProxies []string      `name:"trusted-proxies" default:"" help:"addresses or networks of the proxies and balancers before this node, such as 10.0.0.0/8; what they say of a client (X-Forwarded-For, Forwarded) is believed, what others say is not"`
	ProxyProtocol  bool          `name:"proxy-protocol" default:"false" help:"accept the PROXY protocol, versions 1 and 2, from the trusted proxies, on both listening addresses"`
	Labels         []string      `name:"label" default:"" help:"what this node offers to tasks that ask for it, such as gpu or zone=eu; may be repeated. Without any, the node keeps those it was given through the API"`
	StopGrace      time.Duration `name:"stop-grace" default:"10s" help:"how long a stopping node waits for its tasks to be handed over"`
	LogLevel       string        `name:"log-level" default:"info" help:"debug, info, warn or error"`
	LogFormat      string        `name:"log-format" default:"auto" help:"auto, text or json"`
}

// Check finds what Load cannot see in one value alone, and fills what depends on the machine.
func (s *Server) Check() error {
	var mistakes fault.List
	if s.NodeName == "" {
		s.NodeName, _ = os.Hostname()
	}
	if s.NodeName == "" || strings.ContainsAny(s.NodeName, "/\\\x00") || len(s.NodeName) > 200 {
		mistakes.Add("node-name: has to be 1 to 200 characters without slashes.")
	}
	if s.Database == "" {
		mistakes.Add("database: give the path of an SQLite file, or postgres://user@host/name.")
	}
	if s.Blobs == "" {
		mistakes.Add("blobs: give a folder that all nodes share, or s3://bucket/prefix?endpoint=https://host:port&region=name.")
	}
	for name, address := range map[string]string{"listen": s.Listen, "comms-listen": s.CommsListen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			mistakes.Add("%s: %q is not host:port, such as 127.0.0.1:8080 or :10943.", name, address)
		}
	}
	if s.TaskCap < 0 || s.TaskCap > 10000 {
		mistakes.Add("task-cap: has to be between 0 (no tasks, only the API) and 10000.")
	}
	if _, err := s.Proxies(); err != nil {
		mistakes.Add("%s", err)
	}
	if s.ProxyProtocol && len(s.TrustedProxies) == 0 {
		mistakes.Add("proxy-protocol: say with trusted-proxies from whom it may come.")
	}
	switch s.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		mistakes.Add("log-level: %q is none of debug, info, warn, error.", s.LogLevel)
	}
	switch s.LogFormat {
	case "auto", "text", "json":
	default:
		mistakes.Add("log-format: %q is none of auto, text, json.", s.LogFormat)
	}
	if s.PublicURL == "" {
		s.PublicURL = "http://" + s.Listen
	}
	s.PublicURL = strings.TrimRight(s.PublicURL, "/")
	return mistakes.Err()
}

// Proxies are the networks of the trusted proxies.
func (s *Server) Proxies() (list []netip.Prefix, err error) {
	for _, text := range s.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if ip, wrong := netip.ParseAddr(text); wrong == nil {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("trusted-proxies: %q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		list = append(list, network.Masked())
	}
	return list, nil
}
