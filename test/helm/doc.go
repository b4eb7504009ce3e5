// Package helm renders the chart of deploy/helm with Helm's own engine and holds what comes out: against Kubernetes' own types,
// and against what Octavo promises. No cluster is needed. It is a module of its own, so that Helm stays out of ours.
package helm
