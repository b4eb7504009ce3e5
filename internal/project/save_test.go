package project

import (
	"strings"
	"testing"
)

func TestSave(t *testing.T) {
	bound := ChannelRule{ActionPackages: []ActionPackage{{DeploymentAction: "Web"}}}
	boundToo := ChannelRule{ActionPackages: []ActionPackage{{DeploymentAction: "web"}}}
	for _, c := range []struct {
		name string
		it   interface{ Validate() error }
		want string
	}{
		{"project", &Project{Name: "P"}, ""},
		{"no name", &Project{}, "Name"},
		{"mode", &Project{Name: "P", TenantedDeploymentMode: "Maybe"}, "TenantedDeploymentMode"},
		{"two sources of versions", &Project{Name: "P", VersioningStrategy: VersioningStrategy{Template: "1.0.i", DonorPackage: &ActionPackage{DeploymentAction: "Web"}}}, "DonorPackage"},
		{"settings", &DeploymentSettings{ConnectivityPolicy: ConnectivityPolicy{SkipMachineBehavior: "Always"}}, "SkipMachineBehavior"},
		{"channel", &Channel{Name: "C", Rules: []ChannelRule{bound}}, ""},
		{"two rules for one package", &Channel{Name: "C", Rules: []ChannelRule{bound, boundToo}}, "two rules"},
		{"runbook", &Runbook{Name: "R", EnvironmentScope: "Some"}, "EnvironmentScope"},
		{"schedule", &Trigger{Name: "T", Filter: TriggerFilter{FilterType: "CronExpressionSchedule", CronExpression: "* *"}}, "six fields"},
		{"zone", &Trigger{Name: "T", Filter: TriggerFilter{Timezone: "Mars/Base"}}, "Timezone"},
	} {
		err := c.it.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRunsIn(t *testing.T) { // B4
	for _, c := range []struct {
		scope string
		env   string
		want  bool
	}{{"", "X", true}, {ScopeAll, "X", true}, {ScopeSpecified, "A", true}, {ScopeSpecified, "B", false}, {ScopeFromProjectLifecycles, "B", true}, {ScopeFromProjectLifecycles, "A", false}} {
		r := Runbook{EnvironmentScope: c.scope, Environments: []string{"A"}}
		if got := r.RunsIn(c.env, []string{"B"}); got != c.want {
			t.Errorf("%+v", c)
		}
	}
}
