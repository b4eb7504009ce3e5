// Package machine holds deployment targets, workers and their policies, and says who takes part and who is well
// (deployments.md N3, T2-T7, W1-W6, H1-H5).
//
//	status        found when                                             a health task fails
//	Healthy       reached, and the script had nothing to say             no
//	HasWarnings   it wrote a warning                                     no
//	Unhealthy     it ended badly, or wrote an error                      yes
//	Unavailable   not reached                                            unless the policy lets it be offline
//	Unknown       never checked                                          -
//
// Healthy and HasWarnings both mean reachable: going from one to the other is not "becomes available".
package machine
