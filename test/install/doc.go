// Package install tests what operators install: the systemd units, the packages of scripts/package, the container's file.
//
// The packages are really installed, upgraded and purged, in an overlay of this machine's file system with a network of its
// own, so that nothing of it is left. That needs root and OCTAVO_TEST_LONG.
package install
