package halibut

import "strings"

// remoteError classifies what an agent reported (tentacle-protocol.md 1.13): by the type if there is one, else by
// the texts, because old agents send no types and services are missing in several words.
func remoteError(service, method string, e *wireError) *RemoteError {
	r := &RemoteError{Service: service, Method: method, Message: e.Message}
	if e.Details != nil {
		r.Details = *e.Details
	}
	if e.Type != nil {
		r.Type = *e.Type
	}
	r.Class = r.classify()
	return r
}

func (r *RemoteError) classify() Class {
	text := r.Message + "\n" + r.Details
	switch {
	case strings.HasSuffix(r.Type, ".ServiceNotFoundHalibutClientException"),
		strings.HasPrefix(r.Message, "Service not found: "),
		missingService(text):
		return NoService
	case strings.HasSuffix(r.Type, ".MethodNotFoundHalibutClientException"),
		strings.HasPrefix(r.Message, "Service ") && strings.HasSuffix(strings.TrimRight(r.Message, "."), "not found"):
		return NoMethod
	case strings.HasSuffix(r.Type, ".AmbiguousMethodMatchHalibutClientException"),
		strings.HasPrefix(r.Details, "System.Reflection.AmbiguousMatchException: "):
		return Ambiguous
	case strings.HasSuffix(r.Type, ".ServiceInvocationHalibutClientException"),
		strings.HasPrefix(r.Details, "System.Reflection.TargetInvocationException: "):
		return ServiceThrew
	}
	return Other
}

func missingService(text string) bool {
	for _, sign := range []string{
		"Octopus.Tentacle.Communications.UnknownServiceNameException",
		"has not been registered through an IAutofacServiceSource",
		"NotRegistered",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	// An agent that shuts down fails in the same place, but has the service.
	return strings.Contains(text, "CreateService(") &&
		!strings.Contains(text, "The Tentacle service is shutting down and cannot process this request.") &&
		!strings.Contains(text, "ObjectDisposedException")
}
