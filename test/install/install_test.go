package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/config"
)

const root = "../.."

// TestUnits: systemd understands every line of the units, and finds the server's well fenced in.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (Debian: systemd)")
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"octavo", "octavo-agent"} {
		text, err := os.ReadFile(filepath.Join(root, "deploy/systemd", name+".service"))
		if err != nil {
			t.Fatal(err)
		}
		// The programs are not installed here; /bin/true is.
		line := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/` + name + ` `)
		if !line.Match(text) {
			t.Errorf("%s does not start /usr/bin/%s", name, name)
		}
		unit := filepath.Join(dir, name+".service")
		if err := os.WriteFile(unit, line.ReplaceAll(text, []byte("ExecStart=/bin/true ")), 0o600); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	if out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", units[0]).CombinedOutput()
	found := regexp.MustCompile(`exposure level for octavo\.service: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if level, _ := strconv.ParseFloat(string(found[1]), 64); level > 2.5 {
		t.Errorf("the exposure level is %v; it was 2.1\n%s", level, out)
	}
}

// TestPackages builds the packages twice and installs them.
func TestPackages(t *testing.T) {
	if os.Getenv("OCTAVO_TEST_LONG") == "" {
		t.Skip("OCTAVO_TEST_LONG is not set: builds everything anew")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("installs packages for amd64")
	}
	script := func(out string, arguments ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(root, "scripts/package"), append([]string{"--out", out}, arguments...)...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1767225600")
		said, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("scripts/package: %v\n%s", err, said)
		}
		sums, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		return string(sums)
	}
	first, second := t.TempDir(), t.TempDir()
	sums := script(first, "1.2.3-rc.1")
	if again := script(second, "--arch", "amd64,arm64", "v1.2.3-rc.1"); again != sums {
		t.Errorf("the same source makes other packages:\n%s\n%s", sums, again)
	}
	for _, name := range []string{"octavo_1.2.3-rc.1_arm64.deb", "octavo-agent_1.2.3-rc.1_amd64.deb", "octavo-1.2.3-rc.1-linux-amd64.tar.gz", "octavo-agent-1.2.3-rc.1-linux-arm64.tar.gz"} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("there is no %s:\n%s", name, sums)
		}
	}
	cmd := exec.Command("sha256sum", "-c", "--quiet", "SHA256SUMS")
	cmd.Dir = first
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("SHA256SUMS: %v\n%s", err, out)
	}
	if os.Geteuid() != 0 {
		t.Skip("installing needs root")
	}
	upgraded := t.TempDir()
	script(upgraded, "--arch", "amd64", "1.2.3")
	here, err := filepath.Abs("testdata/installed.sh")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "bash", here, first, upgraded, t.TempDir()).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// TestPackageRefuses: what cannot be a version or an architecture is refused before anything is built.
func TestPackageRefuses(t *testing.T) {
	for arguments, says := range map[string]string{
		"next":                 "VERSION is of the form 1.2.3",
		"--arch riscv64 1.2.3": "riscv64 is neither",
		"1.2.3 1.2.4":          "usage:",
		"--fast":               "usage:",
	} {
		out, err := exec.Command(filepath.Join(root, "scripts/package"), strings.Fields("--out "+t.TempDir()+" "+arguments)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%s: %v\n%s", arguments, err, out)
		}
	}
}

// TestContainerFile: the variables of both images are settings, they go together, and what is copied is there.
func TestContainerFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/container/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	images := regexp.MustCompile(`(?m)^FROM `).Split(strings.ReplaceAll(string(text), "\\\n", " "), -1)
	if len(images) != 4 {
		t.Fatalf("%d stages", len(images)-1)
	}
	for _, image := range images[2:] {
		name := strings.Fields(image)[2]
		t.Run(name, func(t *testing.T) {
			pairs := regexp.MustCompile(`OCTAVO_[A-Z_]+=\S+`).FindAllString(image, -1)
			for _, pair := range pairs {
				variable, value, _ := strings.Cut(pair, "=")
				t.Setenv(variable, value)
			}
			var s config.Server
			if _, err := config.Load(&s, "", nil); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			if filepath.Dir(s.Database) != s.Data || s.Listen != "0.0.0.0:8080" || s.Tools != "/usr/lib/octavo/tools" {
				t.Errorf("%+v", s)
			}
			for _, line := range []string{"USER 65532:65532\n", "EXPOSE 8080 10943\n", `ENTRYPOINT ["/usr/bin/octavo"]` + "\n"} {
				if !strings.Contains(image, line) {
					t.Errorf("there is no %s", line)
				}
			}
		})
	}
	for _, copied := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range strings.Fields(copied[1]) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Error(err)
			}
		}
	}
	settings, err := os.ReadFile(filepath.Join(root, "deploy/deb/octavo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"listen: 127.0.0.1:8080", "database: /var/lib/octavo/octavo.db"} {
		if !strings.Contains(string(settings), line+"\n") {
			t.Errorf("docs/install.md is not right about %s", line)
		}
	}
}
