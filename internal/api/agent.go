package api

import (
	"io"
	"net/http"

	"github.com/octavo/octavo/deploy"
	"github.com/octavo/octavo/internal/access"
)

// agentRoutes are what a new machine gets from us before it has a key: the installer, the unit, the programs. None of it is
// secret, and no setting is in it.
func (a *API) agentRoutes() []route {
	text := func(path, body string) route {
		return raw(get(server, path, access.Anonymous, "", func(c *call) (done, error) { return c.plain(body) }))
	}
	program := get(server, "!/agent/{platform}/octavo-agent", access.Anonymous, "", (*call).agentProgram)
	program.answer = "application/octet-stream"
	return []route{
		text("!/agent/install.sh", deploy.AgentInstaller),
		text("!/agent/octavo-agent.service", deploy.AgentUnit),
		program,
		raw(get(server, "!/agent/{platform}/octavo-agent.sha256", access.Anonymous, "", func(c *call) (done, error) {
			digest, err := c.control.AgentDigest(c.r.PathValue("platform"))
			if err != nil {
				return done{}, err
			}
			return c.plain(digest + "  octavo-agent\n") // as sha256sum -c reads it
		})),
	}
}

func (c *call) plain(body string) (done, error) {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(c.w, body) // a client that has gone is not our error
	return done{}, nil
}

func (c *call) agentProgram() (done, error) {
	f, err := c.control.AgentProgram(c.r.PathValue("platform"))
	if err != nil {
		return done{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return done{}, err
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(c.w, c.r, "", info.ModTime(), f)
	return done{}, nil
}
