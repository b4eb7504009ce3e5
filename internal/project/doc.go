// Package project holds projects, their processes, channels, triggers and runbooks, and the rules they are saved under.
//
// The structs carry the wire's member names and are views of stored documents. [Process.Validate] refuses
// what could not be carried out as written (deployments.md T1, A2), all of it at once; deployment.NewPlan reads a process that was
// frozen in a release or a snapshot.
//
// Properties are texts. Booleans are written True and False and read ignoring case ([Flag]); a value may hold an expression,
// which is looked at when the plan is made, not when the process is saved.
package project
