# Every task of this repository. The work is in scripts/, which run without this file too.
.DEFAULT_GOAL := help
.PHONY: help setup hooks run up down test test-servers test-gvisor coverage mutations check format bench bench-compare chaos fuzz db-create db-migrate db-reset openapi site client vendor clean

PYTHON := .venv/bin/python

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Prepare .venv with everything for development
	@scripts/python-env dev

hooks: ## Run the checks before each commit in this clone
	@git config core.hooksPath scripts/hooks

run: ## Quick start: prepare what is missing, start everything, stop with Ctrl-C
	@exec scripts/run

up: ## Deployment: build the images and start every service with Docker Compose
	@exec scripts/up

down: ## Stop the deployment; volumes stay
	@exec scripts/down

test: ## Run every test, or one with T=path; more for pytest in ARGS=
	@exec scripts/test "$(or $(T),tests)" $(ARGS)

test-servers: ## The store drivers against PostgreSQL 17, Valkey 8 and NATS 2.10 in containers
	@exec scripts/test-servers

test-gvisor: ## The security and e2e tests in gVisor, on a second engine of this machine; needs root and runsc
	@exec scripts/test-gvisor $(ARGS)

coverage: ## Tests that run in one process, with the gate on branch coverage
	@exec scripts/coverage

mutations: ## Remove each mechanism of tests/mutations and check that its tests fail
	@scripts/test-tools
	@exec $(PYTHON) -m tests.mutations $(ARGS)

check: ## Format, lint, types, layers, shell syntax: what CI runs
	@exec scripts/check

format: ## Format the sources and fix what the linter can fix
	@scripts/python-env dev
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix-only --quiet .

bench: ## Measure and print one table, beside what the hardware allows
	@scripts/test-tools
	@exec $(PYTHON) -m tests.bench $(ARGS)

bench-compare: ## Compare two runs of make bench ARGS="--json FILE": A=FILE B=FILE
	@scripts/python-env dev
	@$(PYTHON) -m tests.bench.compare "$(A)" "$(B)"

chaos: ## Inject faults at random moments: SEED= MINUTES=
	@scripts/test-tools
	@exec $(PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

fuzz: ## Search for bytes that break a reader: TARGET= SECONDS=
	@scripts/python-env dev
	@$(PYTHON) -m pip install --quiet --require-hashes --no-deps -r requirements/fuzz.txt
	@exec $(PYTHON) -m tests.fuzz $(TARGET) $(if $(SECONDS),--seconds $(SECONDS))

db-create: ## Create the database that DATABASE_URL names
	@scripts/python-env manager
	@exec $(PYTHON) -m jelmore db create

db-migrate: ## Migrate its schema
	@scripts/python-env manager
	@exec $(PYTHON) -m jelmore db migrate

db-reset: ## Drop and create it again, empty
	@scripts/python-env manager
	@exec $(PYTHON) -m jelmore db reset

openapi: ## Write docs/openapi.json and the other generated pages from the code
	@scripts/python-env dev
	@$(PYTHON) scripts/generate_docs.py

site: ## Build the documentation as a web site in .jelmore/site
	@scripts/site/build

client: ## Write the synchronous client from the asynchronous one
	@scripts/python-env dev
	@$(PYTHON) scripts/generate_sync_client.py

vendor: ## Fetch the dashboard's browser libraries as locked (needs npm)
	@scripts/python-env dev
	@$(PYTHON) scripts/vendor.py

clean: ## Remove .venv and all caches; data in .jelmore stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build dist
	@find session-manager runner-image gateway protocol client tests -name __pycache__ -type d -prune -exec rm -rf {} +
