// Package machine holds deployment targets, workers and their policies, and the rules of who takes part and who is well.
package machine
