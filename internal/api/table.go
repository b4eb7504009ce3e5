package api

import (
	"slices"

	"github.com/octavo/octavo/internal/control"
)

// table is every operation there is.
func (a *API) table() []route {
	var t []route
	for _, k := range control.Kinds {
		if !k.Hidden {
			t = append(t, a.kindRoutes(k)...)
		}
	}
	return slices.Concat(t, a.rootRoutes(), a.projectRoutes(), a.userRoutes(), a.machineRoutes(), a.taskRoutes(), a.interruptionRoutes(), a.packageRoutes(), a.serverRoutes(), a.agentRoutes())
}
