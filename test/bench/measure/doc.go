// Package measure is what the benchmarks share: a durable PostgreSQL of their own, samples with medians and ranges, and
// reports that print nothing when their counts are wrong.
package measure
