// Package clients_test is our server as other people's programs see it: the Go SDK, unmodified, does the
// whole job of a deployment, and the calls recorded of the CLI and the Terraform provider are sent again.
// ./run starts the server and the agents.
package clients_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

var (
	serverURL = os.Getenv("CLIENTS_URL")
	apiKey    = os.Getenv("CLIENTS_KEY")
)

func TestMain(m *testing.M) {
	if serverURL == "" || apiKey == "" {
		fmt.Fprintln(os.Stderr, "these tests need a started server: use test/clients/run")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// startAgents makes a listening and a polling agent in a space, and gives their folders of deployed applications.
func startAgents(t *testing.T, space, tag string, environments ...string) []string {
	t.Helper()
	command := exec.Command("./agents", append([]string{space, tag}, environments...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("agents: %v\n%s", err, &stderr)
	}
	return strings.Fields(string(out))
}

// statuses is a transport that remembers the status of the last answer: the SDK drops it here and there.
type statuses struct{ last atomic.Int64 }

func (s *statuses) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil {
		s.last.Store(int64(response.StatusCode))
	}
	return response, err
}

// greeter is the program that is deployed: it says what the variables put into its configuration.
const greeter = `#!/bin/bash
cd "$(dirname "$0")" && . ./greeter.conf && echo "$greeting from $place, release $release"
`

const greeterConf = `greeting='#{Greeting}'
place='#{Octopus.Environment.Name}'
release='#{Octopus.Release.Number}'
token='#{Token}'
`

const greeterDeploy = `#!/bin/bash
chmod +x greeter
echo "installed into $PWD"
`

// greeterPackage is a zip of the program, its configuration and its deploy script.
func greeterPackage(t *testing.T) []byte {
	t.Helper()
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	for _, file := range []struct{ name, text string }{
		{"greeter", greeter}, {"greeter.conf", greeterConf}, {"Deploy.sh", greeterDeploy},
	} {
		to, err := archive.Create(file.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write([]byte(file.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// installed finds a deployed file below an agent's folder of applications.
func installed(t *testing.T, apps, environment, version, name string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(apps, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() == name && strings.Contains(path, "/"+environment+"/") && strings.Contains(path, "/"+version+"/") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%s of %s in %s, below %s: %q, want exactly one", name, version, environment, apps, found)
	}
	return found[0]
}
