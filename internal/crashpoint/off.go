//go:build !crashpoints

// Package crashpoint names the places where a process may die badly: around each commit and each call to an agent.
//
// In a normal build Reach does nothing. Built with the tag crashpoints, a test can have the process kill or
// stop itself at one of them (OCTAVO_TEST_CRASH), and see which ones a run passes (OCTAVO_TEST_CRASH_SEEN).
package crashpoint

// On tells that this is the test build.
const On = false

// Reach marks that the named place is passed.
func Reach(string) {}
