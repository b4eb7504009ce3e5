.PHONY: test bench bench-queue

# Installs what is missing and runs every test.
test:
	./scripts/test

# Measures what docs/performance.md publishes; see `go run ./test/bench -help`, for instance: make bench ARGS='-only upload,deploy'.
bench:
	go run ./test/bench $(ARGS)

# Measures the task queue beside River, Graphile Worker (needs node and npm) and the commit limit, in one run on one PostgreSQL, and beside
# River on SQLite. ARGS=-quick takes a few minutes; ARGS=-help lists the rest. A module of its own, so that River stays out of ours.
bench-queue:
	cd test/bench/queue && go build -o ../../../bin/bench-queue . && ../../../bin/bench-queue $(ARGS)
