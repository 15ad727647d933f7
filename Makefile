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
WORKERS := -n auto --maxprocesses=4 --dist=loadscope

# Given by the caller: make demo ARGS="--exit --json", make logs SERVICE=risk_manager
# make backtest STRATEGY=moving_average SYMBOL=AAPL
ARGS ?=
SERVICE ?=
STRATEGY ?= moving_average
SYMBOL ?=

.PHONY: help
help: ## Show all commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Running

.PHONY: setup
setup: install ## Set the project up: packages, settings file, secrets
	@$(PYTHON_BIN) -m trader.runtime.first_run

.PHONY: install
install:
	@scripts/setup.sh runtime

.PHONY: demo
demo: install ## Run a trading session offline and watch it (ARGS="--exit --json")
	@$(TRADER) demo $(ARGS)

.PHONY: backtest
backtest: install ## Test a strategy on recorded bars (STRATEGY=name SYMBOL=name)
	@$(TRADER) backtest run --strategy $(STRATEGY) $(if $(SYMBOL),--symbol $(SYMBOL)) $(ARGS)

.PHONY: up
up: install ## Start all services, or one (SERVICE=name)
	@$(TRADER) up $(SERVICE) $(ARGS)

.PHONY: start
start: up ## The same as up

.PHONY: stop
stop: install ## Stop all services, or one (SERVICE=name)
	@$(TRADER) down $(SERVICE) $(ARGS)

.PHONY: status
status: install ## Show which services run
	@$(TRADER) status $(ARGS)

.PHONY: logs
logs: install ## Show the logs of all services, or of one (SERVICE=name)
	@$(TRADER) logs $(SERVICE) $(ARGS)

.PHONY: health
health: install ## Ask every service whether it is well
	@$(TRADER) health $(ARGS)

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

.PHONY: prove
prove: install-dev-deps ## Run the long tests and print their figures
	@HYPOTHESIS_PROFILE=prove $(PYTEST) -m prove -rA $(ARGS)

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
clean: ## Stop the system and remove what tools have made; data and settings stay
	@if [ -x $(TRADER) ]; then $(TRADER) down >/dev/null 2>&1 || true; fi
	@rm -rf .venv .venv.lock .cache build dist htmlcov .coverage .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find shared services backtester trader migrations tests benchmarks \
		-name __pycache__ -type d -prune -exec rm -rf {} +
