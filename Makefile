# The only place that sets the build tag. DuckDB's Arrow interface requires it.
export GOFLAGS := -tags=duckdb_arrow

GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# If mold is installed, it links each of the 30 test programs in half the processor time of ld.
MOLD := /usr/libexec/mold

.PHONY: help run build test services lint cross clients bench soak torture engines clean
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: build ## create a demo tenant, print its keys and example commands, serve on :8080
	@bin/voicory demo
	@exec bin/voicory serve

build: ## build bin/voicory as a position-independent executable
	@go version >/dev/null 2>&1 || { echo "Go 1.26 or later is needed: https://go.dev/dl"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "a C compiler is needed (apt-get install gcc)"; exit 1; }
	go build -buildmode=pie -o bin/voicory ./cmd/voicory

# By default, the race detector delays the exit of each process by a second, and two tests of a package run at a time on
# two cores. Many tests wait for a server.
test: export GORACE := atexit_sleep_ms=100
test: services ## run all tests with the race detector, as CI does; the linter runs vet
	go test -race -vet=off -ldflags="-w $(if $(wildcard $(MOLD)/ld),-extldflags=-B$(MOLD))" -timeout 20m -parallel 4 ./...

services:
	@{ command -v redis-server && { command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl; }; } >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -yqq redis-server postgresql mold >/dev/null; } || \
		echo "redis-server or PostgreSQL is missing and cannot be installed: tests that need them are skipped"

lint: ## check the format, vet, the linters, the import rules and the prose
	$(GOLANGCI) run
	go run ./.ci/prose

cross: ## build for linux/arm64, vet for darwin/arm64
	.ci/cross

clients: build ## generate clients of the API in five languages, and use them against a server
	.ci/clients/run

bench: build ## run the benchmarks and print a table
	go run ./bench

soak: build ## keep a server with 1,000 tenants under load for 30 minutes, check bounds, write docs/soak.md
	go run ./bench/soak -docs docs

torture: build ## kill the server, cut its power and damage its files for ten minutes; writes docs/reliability.md
	go test ./warehouse ./warehouse/recovery -count=1 -timeout 30m -run 'TestFaults_Heal|TestStores|TestRepair' -faults.all
	go test ./exports/bucket -count=1 -run ConvergesAfterFault -faults.all
	go test ./bench/torture -count=1 -v -timeout 30m -torture.for 10m -torture.program $(CURDIR)/bin/voicory \
		-torture.go-on -torture.seed $$(date +%s) -torture.report $(CURDIR)/docs/reliability.md

engines: ## read the tables with DuckDB, PyIceberg, Polars, ClickHouse, Spark and Trino; writes docs/engines.md
	go test ./bench/engines -count=1 -v -timeout 30m -engines.run all -engines.report $(CURDIR)/docs/engines.md

clean: ## remove bin, never data
	rm -rf bin
