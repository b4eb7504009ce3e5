package tasklog

// UnsealedQuery is what Unsealed asks.
const UnsealedQuery = unsealed
