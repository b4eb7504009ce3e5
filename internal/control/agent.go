package control

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/octavo/octavo/internal/fault"
)

var platformForm = regexp.MustCompile(`^[a-z0-9]+-[a-z0-9]+$`)

// AgentProgram opens this node's octavo-agent for a platform such as linux-amd64. The caller closes it.
func (c *Control) AgentProgram(platform string) (*os.File, error) {
	if !platformForm.MatchString(platform) {
		return nil, fault.NotFoundf("A platform is written as linux-amd64; %q is none.", platform)
	}
	path := filepath.Join(c.Tools, platform, "octavo-agent")
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Because(fault.NotFoundf("The server has no octavo-agent for %s. Put it at %s on each node, or set another folder with --tools.", platform, path), err)
	}
	return f, nil
}

// AgentDigest is the SHA-256 of a program, in hexadecimal.
func (c *Control) AgentDigest(platform string) (string, error) {
	f, err := c.AgentProgram(platform)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
