# The commands of the trading system. `make help` lists them.
#
# Recipes print nothing of their own: what comes on standard output is the command's. Settings are read
# from .env by the programs themselves, never by Make, so that there is one reading of that file.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

TRADER := .venv/bin/trader
PYTHON_BIN := .venv/bin/python
PYTEST := $(PYTHON_BIN) -m pytest
SOURCES := shared services backtester trader migrations scripts tests benchmarks conftest.py
# More workers than this only start more databases.
WORKERS := -n auto --maxprocesses=4 --dist=loadscope --no-loadscope-reorder

# Given by the caller: make demo ARGS="--exit --json", make logs SERVICE=risk_manager
# make backtest STRATEGY=moving_average SYMBOL=AAPL
ARGS ?=
SERVICE ?=
STRATEGY ?= moving_average
SYMBOL ?=
FILE ?=
# Read by the commands: CONFIRM=yes does not ask; RUNTIME=local or compose chooses what runs the services.
export CONFIRM RUNTIME

# What Compose writes on the containers of this folder; those of another copy may bear the same name.
ITS_CONTAINERS := com.docker.compose.project.working_dir=$(CURDIR)

# One word for the command, or none.
service = $(if $(SERVICE),"$(SERVICE)")
# The value of a variable that a target cannot do without.
needed = $(if $($(1)),$($(1)),$(error say which one: make $@ $(1)=name))

.PHONY: help
help: ## Show all commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Setting up

.PHONY: setup
setup: install ## Set the project up: packages, settings file, secrets
	@$(PYTHON_BIN) -m trader.runtime.first_run

.PHONY: install
install:
	@scripts/setup.sh runtime

.PHONY: build
build: install ## Make ready what is run: images where Docker answers (RUNTIME=local: without)
	@$(TRADER) build $(ARGS)

.PHONY: init-db
init-db: install ## Make the database, its roles and tables
	@$(TRADER) db migrate $(ARGS)

.PHONY: check-env
check-env: install ## Check the settings and this machine
	@$(TRADER) config validate
	@$(TRADER) doctor $(ARGS)

##@ Running

.PHONY: demo
demo: install ## Run a trading session offline and watch it (ARGS="--exit --json"); local unless RUNTIME says
	@$(TRADER) demo $(ARGS)

.PHONY: up
up: install ## Start all services, or one (SERVICE=name)
	@$(TRADER) up $(service) $(ARGS)

.PHONY: start
start: up ## The same as up

.PHONY: stop
stop: install ## Stop all services, or one (SERVICE=name)
	@$(TRADER) down $(service) $(ARGS)

.PHONY: restart
restart: install ## Restart all services, or one (SERVICE=name)
	@$(TRADER) restart $(service) $(ARGS)

.PHONY: dev
dev: install ## Trade against the simulator, code changes start a service anew; local unless RUNTIME says
	@$(TRADER) demo --reload --speed 60 $(ARGS)

.PHONY: prod
prod: install ## Start all services, if this machine and the settings are fit for it
	@$(TRADER) doctor
	@COMPOSE_FILE=docker-compose.yml:docker-compose.prod.yml $(TRADER) up $(ARGS)

.PHONY: debug
debug: install ## Start all services with verbose logs
	@LOG_LEVEL=DEBUG $(TRADER) up $(service) $(ARGS)

##@ Watching

.PHONY: status
status: install ## Show which services run
	@$(TRADER) status $(ARGS)

.PHONY: health
health: install ## Ask every service whether it is well
	@$(TRADER) health $(ARGS)

.PHONY: logs
logs: install ## Show the logs of all services, or of one (SERVICE=name)
	@$(TRADER) logs $(service) $(ARGS)

.PHONY: logs-service
logs-service: install ## Show the logs of one service (SERVICE=name)
	@$(TRADER) logs "$(call needed,SERVICE)" $(ARGS)

.PHONY: monitor
monitor: install ## Watch what runs and how trading stands, until Ctrl-C
	@$(TRADER) monitor $(ARGS)

.PHONY: stats
stats: install ## Show once what runs, what it uses, how trading stands
	@$(TRADER) stats $(ARGS)

.PHONY: shell
shell: install ## Python with the settings of a service (SERVICE=name)
	@$(TRADER) shell "$(call needed,SERVICE)" $(ARGS)

.PHONY: shell-db
shell-db: install ## The database's own client, read-only (ARGS="--role trading" may change)
	@$(TRADER) shell db $(ARGS)

.PHONY: shell-redis
shell-redis: install ## Redis' own client
	@$(TRADER) shell redis $(ARGS)

.PHONY: backtest
backtest: install ## Test a strategy on recorded bars (STRATEGY=name SYMBOL=name)
	@$(TRADER) backtest run --strategy "$(STRATEGY)" $(if $(SYMBOL),--symbol "$(SYMBOL)") $(ARGS)

##@ Keeping

.PHONY: backup
backup: install ## Keep the database in data/backups
	@$(TRADER) backup $(ARGS)

.PHONY: backup-data
backup-data: install ## Keep market data and settings in data/backups
	@$(TRADER) backup --data $(ARGS)

.PHONY: restore
restore: install ## Put a backup back (FILE=path; else the newest of the database); asks first
	@$(TRADER) restore $(if $(FILE),"$(FILE)") $(ARGS)

.PHONY: migrate
migrate: install ## Bring the database to the newest step
	@$(TRADER) db migrate $(ARGS)

.PHONY: reset-db
reset-db: install ## Back the database up and begin with an empty one; asks first
	@$(TRADER) db reset $(ARGS)

.PHONY: update
update: install ## Install or fetch anew what is run
	@$(TRADER) update $(ARGS)

.PHONY: clean-data
clean-data: install ## Remove market data and logs older than the retention settings; asks first
	@$(TRADER) prune $(ARGS)

##@ Developing

.PHONY: install-dev-deps
install-dev-deps: ## Install what tests and tools need
	@scripts/setup.sh development

.PHONY: test
test: install-dev-deps ## Run all tests of every submission
	@$(PYTEST) $(WORKERS) -m "not prove" $(ARGS)

.PHONY: test-unit
test-unit: install-dev-deps ## Run the tests that need no server
	@$(PYTEST) $(WORKERS) -m "not (integration or acceptance or prove)" $(ARGS)

.PHONY: test-integration
test-integration: install-dev-deps ## Run the tests on real servers and processes
	@$(PYTEST) $(WORKERS) -m "(integration or acceptance) and not prove" $(ARGS)

.PHONY: test-coverage
test-coverage: install-dev-deps ## Run all tests and report which lines they reach
	@$(PYTEST) $(WORKERS) -m "not prove" --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: prove
prove: install-dev-deps ## Run the long tests part by part and print their figures (ARGS="tests/browser -k pages")
	@$(PYTHON_BIN) -m tests.proving $(ARGS)

.PHONY: format
format: install-dev-deps ## Format the code
	@$(PYTHON_BIN) -m ruff format $(wildcard $(SOURCES))
	@$(PYTHON_BIN) -m ruff check --fix --quiet --exit-zero $(wildcard $(SOURCES))

.PHONY: lint
lint: install-dev-deps ## Check style, forbidden calls and the direction of imports
	@$(PYTHON_BIN) -m ruff check $(wildcard $(SOURCES))
	@$(PYTHON_BIN) -m ruff format --check $(wildcard $(SOURCES))
	@.venv/bin/lint-imports --cache-dir .import_linter_cache

.PHONY: type-check
type-check: install-dev-deps ## Check all types
	@$(PYTHON_BIN) -m mypy

.PHONY: check
check: lint type-check test ## Everything that must hold before a change is handed in

.PHONY: lock
lock: install-dev-deps ## Pin the dependencies of pyproject.toml anew, with hashes
	@scripts/lock.sh

.PHONY: clean
clean: ## Stop the system, remove containers and what tools have made; data, volumes and settings stay
	@if [ -x $(TRADER) ]; then $(TRADER) down >/dev/null 2>&1 || true; fi
	@if [ -n "$$(docker ps --all --quiet --filter "label=$(ITS_CONTAINERS)" 2>/dev/null)" ]; then \
		docker compose --profile '*' down --remove-orphans >/dev/null 2>&1 || true; fi
	@rm -rf .venv .venv.lock .cache build dist htmlcov .coverage .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find shared services backtester trader migrations tests benchmarks \
		-name __pycache__ -type d -prune -exec rm -rf {} +
