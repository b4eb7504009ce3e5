// Package environment holds environments, lifecycles and tenants, and the rules of progression.
package environment
