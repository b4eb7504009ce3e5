package deployment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
)

func TestRetentionOfDiscreteChannels(t *testing.T) { // K9
	lifecycle := &environment.Lifecycle{
		Phases:                 []environment.Phase{{Name: "Dev", OptionalDeploymentTargets: []string{"Dev"}}},
		ReleaseRetentionPolicy: &environment.RetentionPolicy{Strategy: environment.RetainCount, Unit: environment.Items, QuantityToKeep: 1},
	}
	r := deployment.ReleaseRetention{Lifecycle: func(string) *environment.Lifecycle { return lifecycle }, Environments: []string{"Dev"}, Now: at(1000)}
	for i := 8; i > 0; i-- { // even ones in channel 0, odd ones in 1
		id := fmt.Sprint(i)
		channel := fmt.Sprint(i % 2)
		r.Releases = append(r.Releases, deployment.OldRelease{Id: id, ChannelId: channel})
		r.Deployments = append(r.Deployments, deployment.Past{ReleaseId: id, ChannelId: channel, EnvironmentId: "Dev", State: "Success", StartTime: at(float64(i))})
	}
	for discrete, want := range map[bool]string{false: "5 4 3 2 1", true: "2 1"} {
		r.Discrete = discrete
		if got := strings.Join(deleted(r.Judge()), " "); got != want {
			t.Errorf("discrete %v: %s go, want %s", discrete, got, want)
		}
	}
}

func TestRetentionSaysWhy(t *testing.T) {
	policy := &environment.RetentionPolicy{Strategy: environment.RetainCount, Unit: environment.Days, QuantityToKeep: 3}
	lifecycle := &environment.Lifecycle{Phases: []environment.Phase{{Name: "Dev", OptionalDeploymentTargets: []string{"Dev"}}}, ReleaseRetentionPolicy: policy}
	now := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	r := deployment.ReleaseRetention{
		Lifecycle: func(string) *environment.Lifecycle { return lifecycle }, Environments: []string{"Dev", "Gone"}, Now: now,
		Releases: []deployment.OldRelease{{Id: "5", Assembled: now}, {Id: "4", Assembled: now}, {Id: "3", Assembled: now.AddDate(0, 0, -4)}, {Id: "2", Assembled: now.AddDate(0, 0, -5)}, {Id: "1", Assembled: now.AddDate(0, 0, -3)}},
	}
	for i, id := range []string{"2", "4", "5"} {
		r.Deployments = append(r.Deployments, deployment.Past{ReleaseId: id, EnvironmentId: "Dev", State: "Success", StartTime: now.Add(time.Duration(i) * time.Minute)})
	}
	want := []deployment.Verdict{
		{Id: "5", Why: deployment.KeptByDashboard},
		{Id: "4", Why: deployment.KeptAsPrevious},
		{Id: "3", Delete: true, Why: "never deployed, and the lifecycle keeps those of 3 days, but this one is 4 days old"},
		{Id: "2", Delete: true, Why: "deployed, and phase Dev keeps those of 3 days, but this one is 5 days old"},
		{Id: "1", Why: deployment.KeptUndeployed}, // to the day
	}
	if got := r.Judge(); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
