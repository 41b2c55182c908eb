# Two commands to know: `make demo` and `make test`. Both set up what is missing first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults check format bench simulator-docs contracts features features-worth ui down

VENV := .venv/bin

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Find or install what is missing (seconds when nothing changed)
	@scripts/setup.sh

demo: setup ## Run the whole platform on simulated payments
	@$(VENV)/sentinela demo

test: setup ## Run every test but the long runs under faults, in two processes
	@$(VENV)/pytest -m "not faults" -n 2 --dist loadgroup --no-loadscope-reorder

test-faults: setup ## Run the long tests under faults and write docs/faults.md anew
	@$(VENV)/pytest tests -m faults --faults-report docs/faults.md

check: setup ## Format, lint, types, import boundaries, Dagster definitions
	@$(VENV)/ruff format --check
	@$(VENV)/ruff check
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@$(VENV)/dg check defs

format: setup ## Format the code and fix what the linter can
	@$(VENV)/ruff format
	@$(VENV)/ruff check --fix

bench: setup ## Measure, everything or GROUPS="stores windows"
	@$(VENV)/python -m benchmarks $(GROUPS)

simulator-docs: setup ## Write the figures and pictures of docs/simulator.md anew (ten minutes)
	@$(VENV)/python scripts/simulator_report.py

contracts: setup ## Write contracts/ and the pages of metrics, problems, reasons, streams, data and quality anew from the code
	@$(VENV)/python -m pix.contracts
	@$(VENV)/python -m serving
	@$(VENV)/python -m fraud_streaming
	@$(VENV)/python -m fraud_assets

features: setup ## Write the catalogue of features anew from the declarations
	@$(VENV)/python -m pix.features

features-worth: setup ## Write docs/features-worth.md anew: models with all, few and no features (ten minutes)
	@$(VENV)/python scripts/features_worth.py

ui: setup ## Start what is not running and open the UIs
	@scripts/ui.sh

down: ## End what was started
	@if [ -x $(VENV)/sentinela ]; then $(VENV)/sentinela down; else echo "nothing was set up, so nothing runs"; fi
