package world

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// Read this to know what a cluster does. Three nodes share one database; each has a REST API. Three agents have never
// heard of nodes: whoever has the cluster's certificate may call. All of it is the real code, in a bubble where time flies.
func TestStory(t *testing.T) {
	for _, engine := range engines() {
		t.Run(string(engine), func(t *testing.T) {
			p := newPlace(t, engine)
			synctest.Test(t, func(t *testing.T) { story(t, newWorld(t, p)) })
		})
	}
}

func story(t *testing.T, w *world) {
	defer w.leave()
	w.timing = cluster.DefaultTiming
	for _, name := range []string{"a", "b", "c"} {
		w.boot(name, 5)
	}

	// One of them leads: it does what has to be done once, such as starting health checks. All else any node does.
	w.soon("somebody leads", func() bool { return w.leader() != nil })
	w.soon("the agents are healthy", w.idle)

	// A client asks node A for a deployment. The answer comes once it is written down; whoever has a slot claims it.
	task := w.deploy("a", "Long", "Test")
	w.soon("the scripts count", func() bool { return w.said("Long 1", "web1") >= 5 && w.said("Long 1", "web2") >= 5 })
	owner := w.owner(task)

	// The machine of its node burns down, in the middle of a count to thirty. Not a word is said to anybody. The scripts
	// go on: they are their agents'. The others see that node's counter stand still, and after 15 seconds one of them
	// takes the task over, asks the agents how far they are, and reads on at the next line.
	owner.kill()
	took := w.until(20*time.Second, "another node owns the task", func() bool { n := w.owner(task); return n != nil && n != owner })
	if took < 13*time.Second {
		t.Errorf("a node was taken for dead after %v", took)
	}
	w.until(time.Minute, "the deployment succeeds", func() bool { return w.state(task) == cluster.Success })
	log := w.raw(w.other(owner).name, task)
	w.inOrder(log, "Long 1: 1 of 30", "goes on with this task", "Re-attached to the script at log line", "Long 1: 20 of 30", "Long 1: 30 of 30", "Long 2: 2 of 2")
	if n := strings.Count(log, "Long 1: "); n != 60 { // two targets
		t.Errorf("the log has %d of 60 lines", n)
	}

	// The machine is mended and comes back under its name. It gets a new epoch, so nothing that was written under the old
	// one could do harm, if it were still on its way.
	owner = w.boot(owner.name, 5)

	// A cancel may be asked of any node. It is a flag in the database; the owner has the agents end the scripts first.
	task = w.deploy("b", "Long", "Production")
	w.soon("it counts", func() bool { return w.running(task) == 2 })
	if r := w.request(w.other(w.owner(task)).name, "POST", "/api/tasks/"+task+"/cancel", nil); r.text("State") != "Cancelling" {
		t.Errorf("the cancel was answered by %d %s", r.status, r.body)
	}
	w.until(4*time.Second, "it is canceled", func() bool { return w.state(task) == cluster.Canceled })
	if w.running(task) > 0 {
		t.Error("a script outlived its cancel")
	}

	// Deployments of one project to one environment take turns, in the order in which they came; those of others do not wait.
	first, second, third := w.deploy("a", "Web", "Test"), w.deploy("b", "Web", "Test"), w.deploy("c", "Shop", "Test")
	w.soon("the first and the third run", func() bool { return w.running(first) > 0 && w.owner(third) != nil })
	if why := w.request("a", "GET", "/api/tasks/"+second, nil).text("State"); why != "Queued" {
		t.Errorf("the second is %s beside the first", why)
	}

	// The leader is drained, for an upgrade. It leads no more, claims nothing more, and ends what it has.
	leader := w.leader()
	w.request(w.other(leader).name, "PUT", "/api/octopusservernodes/OctopusServerNodes-"+leader.name, m{"IsInMaintenanceMode": true, "MaxConcurrentTasks": 5})
	w.until(3*time.Second, "another leads", func() bool { n := w.leader(); return n != nil && n != leader })
	w.until(time.Minute, "all three end", func() bool {
		return w.state(first) == cluster.Success && w.state(second) == cluster.Success && w.state(third) == cluster.Success
	})
	task = w.deploy(leader.name, "Long", "Test") // it serves requests as before; others carry out what comes of them
	w.soon("it counts elsewhere", func() bool { return w.running(task) == 2 && w.owner(task) != leader })
	w.request(leader.name, "PUT", "/api/octopusservernodes/OctopusServerNodes-"+leader.name, m{"IsInMaintenanceMode": false, "MaxConcurrentTasks": 5})

	// SIGTERM: the owner lets its task go in good order, and another has it at once. Nothing was lost, nothing waited for.
	owner = w.owner(task)
	if err := owner.stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	took = w.until(5*time.Second, "another node owns the task", func() bool { n := w.owner(task); return n != nil && n != owner })
	t.Logf("the hand-over took %v", took)

	// kill -9, and systemd starts the process again: it has its data directory's lock, so it need not wait for its own death.
	owner = w.owner(task)
	owner.kill()
	w.boot(owner.name, 5)
	took = w.until(3*time.Second, "somebody owns the task", func() bool { n := w.owner(task); return n != nil && n.up() })
	t.Logf("after a restart it took %v", took)
	w.until(time.Minute, "it succeeds", func() bool { return w.state(task) == cluster.Success })

	// Through all of this no script ran twice, none beside one of the same turn, every line is in its log once and in
	// order, every claim was below its node's cap, and every term's duties were done once.
	w.checkEnd()
}

// A polling agent dials one address, and is connected to whichever node is behind it. Others reach it all the same: their
// calls are rows, which the node that holds the link carries out. When that node dies, the agent dials again.
func TestStoryOfAPollingAgent(t *testing.T) {
	for _, engine := range engines() {
		t.Run(string(engine), func(t *testing.T) {
			p := newPlace(t, engine)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, p)
				defer w.leave()
				w.boot("a", 5)
				const subscription = "poll://abcdefghij0123456789/"
				w.agents = append(w.agents, w.newAgent("far1", false, subscription))
				w.request("a", "POST", "/api/machines", m{
					"Name": "far1", "EnvironmentIds": w.subject.environments, "Roles": []any{"far"},
					"Endpoint": m{"CommunicationStyle": "TentacleActive", "Uri": subscription, "Thumbprint": agentIdentity().Thumbprint},
				})
				w.until(time.Minute, "it is connected, and all agents are healthy", func() bool { return w.link(subscription) == "a" && w.idle() })

				// Node b carries the deployment out, over the link that node a holds.
				w.boot("b", 5)
				w.request("a", "PUT", "/api/octopusservernodes/OctopusServerNodes-a", m{"IsInMaintenanceMode": true, "MaxConcurrentTasks": 5})
				task := w.deploy("b", "Far", "Test")
				w.soon("it counts", func() bool { return w.said("Far 1", "far1") >= 3 })
				if owner := w.owner(task); owner != w.nodes["b"] || w.link(subscription) != "a" {
					t.Errorf("not what this story is about: owner %v", owner)
				}
				w.nodes["a"].kill()
				w.until(time.Minute, "the agent is connected to b", func() bool { return w.link(subscription) == "b" })
				w.until(time.Minute, "the deployment succeeds", func() bool { return w.state(task) == cluster.Success })
				w.inOrder(w.raw("b", task), "Far 1: 1 of 20", "Far 1: 20 of 20")
				w.checkEnd()
			})
		})
	}
}

// A script on the server itself dies with its server, and nobody can know how far it came. So nothing is repeated: the
// next owner asks a person, and waits without a slot.
func TestStoryOfAScriptOnTheServer(t *testing.T) {
	p := newPlace(t, engines()[0])
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		defer w.leave()
		a := w.boot("a", 5)
		w.soon("the agents are healthy", w.idle)
		died := make(chan struct{})
		w.onCommit(func(did []dbtest.Statement) { // a real process takes no time in a bubble, so it is caught as it begins
			for _, s := range did {
				if strings.Contains(s.Query, "SET state = 'started'") {
					w.watch = nil
					go func() { defer close(died); a.kill() }()
				}
			}
		})
		// The node may be dead before it has answered; what it wrote down is done all the same.
		ask(t.Context(), a.api, "POST", "/api/deployments", m{"ReleaseId": w.subject.releases[3], "EnvironmentId": w.subject.environments[0]})
		<-died
		w.boot("b", 5)
		all := w.tasks()
		task := all[len(all)-1].Id
		question := ""
		w.soon("a person is asked", func() bool {
			question = w.request("b", "GET", "/api/interruptions?pendingOnly=true&regarding="+task, nil).text("Items.0.Id")
			return question != ""
		})
		w.soon("nobody owns the task", func() bool { return w.state(task) == cluster.StateWaiting })
		w.request("b", "PUT", "/api/interruptions/"+question+"/responsible", nil)
		w.request("b", "POST", "/api/interruptions/"+question+"/submit", m{"Guidance": "Fail"})
		w.soon("the task fails", func() bool { return w.state(task) == cluster.Failed })
		w.inOrder(w.raw("b", task), "goes on with this task", "nobody can know", "admin answered: Fail")
	})
}
