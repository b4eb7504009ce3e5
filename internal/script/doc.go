// Package script holds what surrounds a user's script: the bootstrap that gives it its variables and
// helper functions, the variables file, and the parser of the service messages it prints.
//
// # How variables reach a script
//
// A script is run by a generated Bootstrap file that holds no value. The values come in one text, the feed:
//
//	stdin    the parent process writes the feed to the bootstrap's standard input; nothing is on disk.
//	         The bootstrap reads it whole and then replaces standard input by /dev/null.
//	sealed   the feed lies encrypted in Octopus.vars and its random password in Octopus.key; the bootstrap
//	         reads both, deletes both, and only then runs the script. It is for agents that only run a
//	         body with files (an unmodified Tentacle). openssl reads the password from the file.
//
// Neither way puts a value into an argument or into the environment (deployments.md E3, variables.md 4.5).
//
// # Service messages
//
// ##octopus[name key='base64' ...] on standard output talks to the server (tentacle-protocol.md 4.7). The Parser
// turns output into events, one after the other. Its State is small, serialisable, and all it knows, so another
// node goes on in the middle of a script:
//
//	Out    level of the following standard output lines; changed by stdout-* messages
//	Err    level of the following standard error lines; changed by stderr-* messages
//	tails  the start of a line whose end has not come yet (byte streams only; agents send whole lines)
//
// What cannot be read as a message is text. Text before and after a message on its line is kept as text: a script
// that printed something without a newline does not lose it.
package script
