//go:build unix && !linux

package agent

func withoutCgroup() {}
