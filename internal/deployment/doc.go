// Package deployment holds deployments and the plan each one is carried out by.
package deployment
