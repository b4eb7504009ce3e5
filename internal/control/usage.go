package control

import (
	"context"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// AccountUsages says who uses an account (rest-api.md 1: entity links).
type AccountUsages struct {
	DeploymentProcesses []ProcessUsage
	LibraryVariableSets []VariableSetUsage
	ProjectVariableSets []VariableSetUsage
	Releases            []ProcessUsage
	RunbookProcesses    []ProcessUsage
	RunbookSnapshots    []ProcessUsage
	Targets             []TargetUsage
}

// ProcessUsage is a process that names an account in a property.
type ProcessUsage struct {
	ProjectId   string
	ProjectName string
	ProcessId   string
}

// VariableSetUsage is a set in which a variable's value is an account.
type VariableSetUsage struct {
	ProjectId                     string
	ProjectName                   string
	VariableSetId                 string
	IsCurrentlyBeingUsedInProject bool
}

// TargetUsage is a machine that is reached with an account.
type TargetUsage struct {
	TargetId   string
	TargetName string
}

// AccountUsages looks for an account among targets, variables and processes of its space.
func (c *Control) AccountUsages(ctx context.Context, space, idOrSlug string) (AccountUsages, error) {
	var u AccountUsages
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		u = AccountUsages{}
		account, err := store.Get(ctx, tx, &Accounts.Kind, space, idOrSlug)
		if err != nil {
			return err
		}
		id := account.Text("Id")
		users, err := store.Users(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, user := range users {
			u.Targets = append(u.Targets, TargetUsage{user.Id, user.Name})
		}
		projects, err := store.Views[project.Project](ctx, tx, &Projects.Kind, store.Query{Spaces: []string{space}})
		if err != nil {
			return err
		}
		for _, p := range projects {
			set, err := store.View[variable.VariableSet](ctx, tx, p.VariableSetId)
			if err != nil {
				return err
			}
			for _, v := range set.Variables {
				if strings.EqualFold(v.Text(), id) {
					u.ProjectVariableSets = append(u.ProjectVariableSets, VariableSetUsage{p.Id, p.Name, set.Id, true})
					break
				}
			}
			process, err := store.View[project.Process](ctx, tx, p.DeploymentProcessId)
			if err != nil {
				return err
			}
			if namesAccount(process, id) {
				u.DeploymentProcesses = append(u.DeploymentProcesses, ProcessUsage{p.Id, p.Name, process.Id})
			}
		}
		return nil
	})
	return u, err
}

func namesAccount(process project.Process, id string) bool {
	for _, s := range process.Steps {
		for _, a := range s.Actions {
			for _, v := range a.Properties {
				if strings.EqualFold(v.Value, id) {
					return true
				}
			}
		}
	}
	return false
}
