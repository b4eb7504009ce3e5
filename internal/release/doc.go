// Package release holds releases and snapshots, and how their versions and packages are chosen.
package release
