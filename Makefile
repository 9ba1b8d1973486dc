# Every target does its own set-up; nothing needs to be installed by hand.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help setup demo up down test test-unit lint

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Make .venv with the pinned packages (a no-op when nothing changed)
	@.ci/setup

demo: setup ## From nothing to a fleet, its health and three answered questions
	@$(BIN)/iotops demo

up: setup ## Start the embedded stack
	@$(BIN)/iotops up

down: ## Stop the embedded stack and all that runs on it
	@if [ -x $(BIN)/iotops ]; then $(BIN)/iotops down; fi

test: setup ## All tests: unit, integration on the real services, end to end with vLLM, faults
	@.ci/test

test-unit: setup ## The tests that need no service
	@$(BIN)/python -m pytest tests/unit

lint: setup ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
