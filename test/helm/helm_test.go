package helm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const path = "../../deploy/helm/octavo"

type values = map[string]any

// least is what has to be given.
func least() values {
	return values{"existingSecret": "octavo", "blobs": values{"url": "s3://octavo?endpoint=https://s3.example.com"}}
}

// with is least and more.
func with(more values) values {
	v := least()
	maps.Copy(v, more)
	return v
}

// rendered are the objects of one release, by kind and name.
type rendered map[string]string

func render(v values) (rendered, error) {
	c, err := loader.Load(path)
	if err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: "octavo", Namespace: "deploy", Revision: 1, IsInstall: true}, &chartutil.Capabilities{
		KubeVersion: chartutil.KubeVersion{Version: "v1.30.0", Major: "1", Minor: "30"},
	})
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	out := rendered{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, document := range strings.Split(text, "\n---\n") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			var o struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(document), &o); err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, document)
			}
			out[o.Kind+"/"+o.Metadata.Name] = document
		}
	}
	return out, nil
}

func must(t *testing.T, v values) rendered {
	t.Helper()
	r, err := render(v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// as reads an object as Kubernetes would, and refuses members it does not know.
func as[T any](t *testing.T, r rendered, name string) T {
	t.Helper()
	var o T
	text, ok := r[name]
	if !ok {
		t.Fatalf("there is no %s among %v", name, slices.Sorted(maps.Keys(r)))
	}
	if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	return o
}

func TestLint(t *testing.T) {
	for _, v := range []values{least(), with(values{"autoscaling": values{"enabled": true, "with": "adapter"}, "metrics": values{"serviceMonitor": true}})} {
		result := lint.All(path, v, "deploy", true)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Error(m)
			}
		}
	}
}

// TestDeployment holds what a node needs of Kubernetes (behaviour.md 2.23, P11).
func TestDeployment(t *testing.T) {
	r := must(t, with(values{"publicUrl": "https://octavo.example.com", "labels": []any{"gpu", "zone=eu"}, "trustedProxies": []any{"10.0.0.0/8"}}))
	d := as[apps.Deployment](t, r, "Deployment/octavo")
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if *d.Spec.Replicas != 2 || d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 || !matches(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels) {
		t.Errorf("%+v", d.Spec)
	}
	if *pod.EnableServiceLinks {
		t.Error("OCTAVO_PORT of a service named octavo would be a setting that is none")
	}
	if *pod.TerminationGracePeriodSeconds < 20 || *c.Lifecycle.PreStop.Sleep != (core.SleepAction{Seconds: 5}) {
		t.Errorf("the end: %+v", pod)
	}
	if p := c.LivenessProbe.HTTPGet; p.Path != "/livez" || p.Port != intstr.FromString("http") || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.StartupProbe.HTTPGet.Path != "/livez" {
		t.Errorf("probes: %+v", c)
	}
	if !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation || !slices.Contains(c.SecurityContext.Capabilities.Drop, "ALL") {
		t.Error("the container may more than it needs")
	}
	env := map[string]core.EnvVar{}
	for _, e := range c.Env {
		env[e.Name] = e
	}
	for _, name := range []string{"OCTAVO_DATABASE", "OCTAVO_MASTER_KEY"} {
		if e := env[name]; e.Value != "" || e.ValueFrom.SecretKeyRef.Name != "octavo" {
			t.Errorf("%+v", e)
		}
	}
	for name, want := range map[string]string{"OCTAVO_LABEL": "gpu,zone=eu", "OCTAVO_TRUSTED_PROXIES": "10.0.0.0/8", "OCTAVO_BLOBS": "s3://octavo?endpoint=https://s3.example.com", "OCTAVO_STOP_GRACE": "10s", "OCTAVO_TASK_CAP": "5"} {
		if env[name].Value != want {
			t.Errorf("%s is %q, want %q", name, env[name].Value, want)
		}
	}
	if strings.HasSuffix(c.Image, ":latest") || strings.HasSuffix(c.Image, ":") {
		t.Error(c.Image)
	}
	mounted := map[string]bool{}
	for _, v := range pod.Volumes {
		mounted[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !mounted[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}

	shared := as[apps.Deployment](t, must(t, values{"existingSecret": "octavo", "blobs": values{"existingClaim": "share"}, "preStopSleepSeconds": 0}), "Deployment/octavo").Spec.Template.Spec
	if shared.Containers[0].Lifecycle != nil || !slices.ContainsFunc(shared.Volumes, func(v core.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "share"
	}) {
		t.Errorf("%+v", shared)
	}
}

func TestServices(t *testing.T) {
	r := must(t, least())
	pod := as[apps.Deployment](t, r, "Deployment/octavo").Spec.Template
	ports := map[string]int32{}
	for _, p := range pod.Spec.Containers[0].Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, port := range map[string]int32{"octavo": 8080, "octavo-comms": 10943} {
		s := as[core.Service](t, r, "Service/"+name)
		if p := s.Spec.Ports[0]; p.Port != port || ports[p.TargetPort.StrVal] != port || p.Protocol != core.ProtocolTCP || !matches(s.Spec.Selector, pod.Labels) {
			t.Errorf("%+v", s.Spec)
		}
	}
	b := as[policy.PodDisruptionBudget](t, r, "PodDisruptionBudget/octavo")
	if b.Spec.MaxUnavailable.IntValue() != 1 || !matches(b.Spec.Selector.MatchLabels, pod.Labels) {
		t.Errorf("%+v", b.Spec)
	}
	if len(r) != 4 {
		t.Errorf("%v", slices.Sorted(maps.Keys(r)))
	}
}

// TestAutoscaling: by the depth of the queue, with either of the two ways (P12).
func TestAutoscaling(t *testing.T) {
	r := must(t, with(values{"taskCap": 8, "autoscaling": values{"enabled": true, "with": "adapter", "max": 6}}))
	h := as[autoscaling.HorizontalPodAutoscaler](t, r, "HorizontalPodAutoscaler/octavo")
	if m := h.Spec.Metrics[0].External; *h.Spec.MinReplicas != 2 || h.Spec.MaxReplicas != 6 || m.Metric.Name != "octavo_wanted_slots" || m.Target.AverageValue.Value() != 8 || h.Spec.ScaleTargetRef.Name != "octavo" {
		t.Errorf("%+v", h.Spec)
	}
	if as[apps.Deployment](t, r, "Deployment/octavo").Spec.Replicas != nil {
		t.Error("an upgrade of the release would set the number of nodes back")
	}
	var keda struct {
		Spec struct {
			MinReplicaCount, MaxReplicaCount int
			ScaleTargetRef                   struct{ Name string }
			Triggers                         []struct {
				Type, MetricType string
				Metadata         map[string]string
			}
		}
	}
	r = must(t, with(values{"autoscaling": values{"enabled": true, "prometheus": "http://prometheus:9090"}}))
	if err := yaml.Unmarshal([]byte(r["ScaledObject/octavo"]), &keda); err != nil {
		t.Fatal(err)
	}
	if q := keda.Spec.Triggers[0].Metadata; q["threshold"] != "5" || q["serverAddress"] != "http://prometheus:9090" || keda.Spec.ScaleTargetRef.Name != "octavo" ||
		q["query"] != `sum(max by (state, reason) (octavo_queue_tasks{namespace="deploy",service="octavo",state=~"queued|running|released",reason=~"|slot"}))` {
		t.Errorf("%+v", keda)
	}
}

// TestRefusals: what cannot work is refused before anything is installed, by the name of the value.
func TestRefusals(t *testing.T) {
	for says, v := range map[string]values{
		"existingSecret":        {"blobs": values{"url": "s3://octavo"}},
		"blobs: set either":     {"existingSecret": "octavo"},
		"either url":            with(values{"blobs": values{"url": "s3://octavo", "existingClaim": "share"}}),
		"terminationGracePerio": with(values{"stopGraceSeconds": 60}),
		"replica":               with(values{"replica": 3}),
		"tag":                   with(values{"image": values{"tag": "latest"}}),
		"autoscaling.promethe":  with(values{"autoscaling": values{"enabled": true}}),
		"blobs":                 with(values{"blobs": values{"url": "/srv/share"}}),
	} {
		if _, err := render(v); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}
