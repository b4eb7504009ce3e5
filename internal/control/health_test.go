package control_test

import (
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
)

// Clients tell the three schedules apart by which members are there (deployments.md M1).
func TestScheduleOfAMachinePolicy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ring, err := secret.Start(t.Context(), d, secret.Source{Text: secret.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		ctx := access.With(t.Context(), access.System)
		use := &control.Control{DB: d, Ring: ring}
		if err := use.Bootstrap(ctx); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name  string
			check map[string]any
			want  any    // HealthCheckInterval
			wrong string // in the refusal
		}{
			{name: "nothing", want: "01:00:00"},
			{name: "never", check: map[string]any{"HealthCheckType": "RunScript"}, want: nil},
			{name: "null", check: map[string]any{"HealthCheckInterval": nil, "HealthCheckCron": nil}, want: nil},
			{name: "interval", check: map[string]any{"HealthCheckInterval": "00:10:00"}, want: "00:10:00"},
			{name: "cron", check: map[string]any{"HealthCheckCron": "0 0 3 * * *", "HealthCheckCronTimezone": "Europe/Berlin"}, want: nil},
			{name: "no cron", check: map[string]any{"HealthCheckCron": "now and then"}, wrong: "HealthCheckCron: "},
			{name: "no zone", check: map[string]any{"HealthCheckCron": "0 0 3 * * *", "HealthCheckCronTimezone": "Mars/Base"}, wrong: "Europe/Berlin"},
		} {
			o := resource.Object{"Name": c.name}
			if c.check != nil {
				o["MachineHealthCheckPolicy"] = c.check
			}
			made, err := use.Create(ctx, control.MachinePolicies, control.FirstSpace, o, "")
			if c.wrong != "" {
				if fault.KindOf(err) != fault.Invalid || err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("%s: %v", c.name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			health, _ := made["MachineHealthCheckPolicy"].(map[string]any)
			if health["HealthCheckInterval"] != c.want || health["HealthCheckType"] != "RunScript" {
				t.Errorf("%s: %v", c.name, health)
			}
		}
		for arguments, want := range map[string]string{
			`{"RestrictedTo": "Everything"}`: "RestrictedTo is 'Everything'", `{"Timeout": "soon"}`: "Timeout: ", `{"MachineTimeout": "00:00:00"}`: "MachineTimeout: it must be more than nothing",
			`{"MachineIds": "Machines-1"}`: "cannot be read",
		} {
			if _, _, _, err := control.ReadHealthArguments([]byte(arguments)); fault.KindOf(err) != fault.Invalid || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", arguments, err)
			}
		}
		_, err = use.PushTask(ctx, control.FirstSpace, control.NewTask{Name: "Health", Arguments: map[string]any{"RestrictedTo": "Everything"}})
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("a task that can only fail was queued: %v", err)
		}
	})
}
