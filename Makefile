.PHONY: test bench

# Installs what is missing and runs every test.
test:
	./scripts/test

# Measures what docs/performance.md publishes; see `go run ./test/bench -help`, for instance: make bench ARGS='-only upload,deploy'.
bench:
	go run ./test/bench $(ARGS)
