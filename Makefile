# The one place where the build tag is set: DuckDB's Arrow interface is behind it.
export GOFLAGS := -tags=duckdb_arrow

GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help run build test services lint bench clean
help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: build ## make a demo tenant, print its keys and lines to try, serve on :8080
	@bin/voicory demo
	@exec bin/voicory serve

build: ## bin/voicory, a position-independent program
	@go version >/dev/null 2>&1 || { echo "Go 1.26 or later is needed: https://go.dev/dl"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "a C compiler is needed (apt-get install gcc)"; exit 1; }
	go build -buildmode=pie -o bin/voicory ./cmd/voicory

test: services ## everything that CI runs, race detector on
	go test -race -timeout 20m ./...

services:
	@{ command -v redis-server && { command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl; }; } >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -yqq redis-server postgresql >/dev/null; } || \
		echo "redis-server and PostgreSQL are not both here, and cannot be installed: tests that need them skip"

lint: ## format, vet, linters and the rule of which package may import which
	$(GOLANGCI) run

bench: build ## the benchmarks, as a table
	go run ./bench

clean: ## remove what was built (never data)
	rm -rf bin
