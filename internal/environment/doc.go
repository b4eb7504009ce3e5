// Package environment holds environments, lifecycles and tenants, and says where a release may go (deployments.md 2 and 8).
//
// A phase is reachable when every phase before it is complete or optional; it is complete when enough of its environments have
// a success of the release:
//
//	                  reachable          not reachable
//	complete          Complete           Complete
//	not complete      Current            Pending
//	defect, no success there: Blocked (the first phase never is)
//
// A tenant is judged by its own successes, in its own environments; a phase in which it has none counts as complete when it is
// complete over everybody's successes (N7). [Lifecycle.Automatic] lists what starts by itself after a success.
package environment
