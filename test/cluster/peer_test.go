package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/peer"
)

// TestForeignAgents deploys a package and a script to two agents that share no code with ours (test/peer), one
// listening and one polling. They have no tool, so the server has to send it; and they fence nothing.
func TestForeignAgents(t *testing.T) {
	parallel(t)
	tools := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tools, "linux-amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(agent, filepath.Join(tools, "linux-amd64", "octavo-agent")); err != nil {
		t.Fatal(err)
	}
	i := install(t, db.SQLite, "--tools", tools)
	environment := i.environment("Test")
	trust := i.get("/configuration/certificates/certificate-global").text("Thumbprint")

	listenCert, listenThumb := peer.Certificate(t)
	pollCert, pollThumb := peer.Certificate(t)
	listening := peer.Start(t, "listen", "--cert", listenCert, "--trust", trust, "--port", "0")
	port := listening.Await(t, "listening on ")
	const subscription = "poll://foreignagent0123456789/"
	for _, machine := range []object{
		{"Name": "listening", "Endpoint": object{"CommunicationStyle": "TentaclePassive", "Uri": "https://127.0.0.1:" + port + "/", "Thumbprint": listenThumb}},
		{"Name": "polling", "Endpoint": object{"CommunicationStyle": "TentacleActive", "Uri": subscription, "Thumbprint": pollThumb}},
	} {
		machine["EnvironmentIds"], machine["Roles"] = []any{environment["Id"]}, []string{"app"}
		i.post("/machines", machine)
	}
	polling := peer.Start(t, "poll", "--cert", pollCert, "--trust", trust, "--server", i.comms, "--subscription", subscription)

	i.upload("Acme.App.1.0.0.zip", map[string]string{"app.conf": "greeting=#{Greeting}\n", "Deploy.sh": "echo \"installed in $PWD\"\n"})
	p := i.project("Foreign", []object{
		packageStep("Install", "app", "Acme.App", object{
			"Octopus.Action.EnabledFeatures": "Octopus.Features.SubstituteInFiles", "Octopus.Action.SubstituteInFiles.TargetFiles": "app.conf",
		}),
		scriptStep("Use", "app", `
dir=$(get_octopusvariable "Octopus.Action[Install].Output.Package.InstallationDirectoryPath")
for n in $(seq 1 20); do echo "n $n"; done
write_highlight "$(cat "$dir/app.conf") for $(get_octopusvariable Octopus.Machine.Name), password $(get_octopusvariable Password)"
set_octopusvariable Said "$(get_octopusvariable Octopus.Machine.Name)"
`),
		scriptStep("After", "", `echo "heard $(get_octopusvariable 'Octopus.Action[Use].Output[listening].Said') and $(get_octopusvariable 'Octopus.Action[Use].Output[polling].Said')"`),
	}, []object{{"Name": "Greeting", "Value": "hello"}, {"Name": "Password", "Value": "correct-horse", "Type": "Sensitive", "IsSensitive": true}})
	i.release(p, "1.0.0", "1.0.0")
	id := i.deploy(p, "1.0.0", "Test", nil)
	if end := i.wait(id, 3*time.Minute); end.State != "Success" {
		t.Fatalf("the deployment ended %s: %s\n%s", end.State, end.ErrorMessage, i.raw(id))
	}
	raw := i.raw(id)
	for _, want := range []string{"greeting=hello for listening, password ********", "greeting=hello for polling, password ********", "heard listening and polling", "Sending the target-side tool"} {
		if !strings.Contains(raw, want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if got := strings.Count(raw, "|   n 20\n"); got != 2 {
		t.Errorf("the last line of the count is there %d times, want once for each agent", got)
	}
	if strings.Contains(raw, "correct-horse") {
		t.Error("the log shows the password")
	}
	for _, p := range []*peer.Peer{listening, polling} {
		installed, err := filepath.Glob(filepath.Join(p.Home, "Tools", "Octavo", "*", "linux-amd64", "octavo-agent.whole"))
		if err != nil || len(installed) != 1 {
			t.Errorf("the tool was sent %d times to %s (%v)", len(installed), p.Home, err)
		}
	}
	if t.Failed() {
		t.Log(raw)
	}
}
