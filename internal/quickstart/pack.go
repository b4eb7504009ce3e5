package quickstart

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// binaries builds octavo and octavo-agent from the source tree we were started in, or takes the
// agent that lies beside this program in an installed release.
func binaries(to string) (server, agent string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", "", err
	}
	if beside := filepath.Join(filepath.Dir(self), "octavo-agent"); isFile(beside) {
		return self, beside, nil
	}
	if !isFile("go.mod") || !isFile("cmd/octavo-agent/main.go") {
		return "", "", errors.New("octavo-agent is neither beside this program nor is this Octavo's source tree: start quickstart in the root of the source, or install a release")
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", "", err
	}
	to, err = filepath.Abs(to)
	if err != nil {
		return "", "", err
	}
	// Flags that change what is compiled would compile everything a second time: `go run` has just done it.
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", to+string(filepath.Separator), "./cmd/octavo", "./cmd/octavo-agent")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return filepath.Join(to, "octavo"), filepath.Join(to, "octavo-agent"), nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// deployScript runs on the target, in the folder the package was extracted to.
const deployScript = `#!/bin/bash
# Part of the package: runs on every target after the variables in octavo.yaml are substituted.
set -e
chmod +x octavo octavo-agent
write_verbose "Checking what was installed in $PWD"
./octavo version
echo "Configuration for $(get_octopusvariable "Octopus.Environment.Name"):"
cat octavo.yaml
`

// configuration is a file whose variables the package step substitutes.
const configuration = `# Made by the deployment of #{Octopus.Project.Name} #{Octopus.Release.Number} to #{Octopus.Environment.Name}
node-name: #{Octopus.Machine.Name}
listen: #{ListenAddress}
log-level: #{LogLevel}
`

// pack makes this platform's release archive: server, agent, a configuration and a deploy script.
func pack(folder, version, server, agent string) (file string, err error) {
	file = filepath.Join(folder, fmt.Sprintf("octavo-%s-%s.%s.tar.gz", runtime.GOOS, runtime.GOARCH, version))
	to, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	zip, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return "", err
	}
	out := tar.NewWriter(zip)
	for name, path := range map[string]string{"octavo": server, "octavo-agent": agent} {
		if err := addFile(out, name, path); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{"Deploy.sh": deployScript, "octavo.yaml": configuration} {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return "", err
		}
		if _, err := io.WriteString(out, text); err != nil {
			return "", err
		}
	}
	return file, errors.Join(out.Close(), zip.Close())
}

func addFile(out *tar.Writer, name, path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return err
}
