// Package project holds projects, their processes, channels, triggers and runbooks, and the rules a process is saved under.
package project
