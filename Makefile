# Every target does its own set-up; nothing needs to be installed by hand.
.DEFAULT_GOAL := help
BIN := .venv/bin
# Models are tested beside each other: their threads do not spin while they wait, see iotops/ray_cluster.py.
export OMP_WAIT_POLICY := PASSIVE
# Containers often forbid to keep bytecode: each of dozens of processes would compile torch and Ray anew.
unexport PYTHONDONTWRITEBYTECODE

# In this order: the stack of the first is down before that of the second comes up.
OWN_STACK := tests/integration/test_stack.py tests/integration/test_crash.py

.PHONY: help setup demo up down test test-unit test-services test-apart test-e2e test-faults browser lint

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
	@$(MAKE) --no-print-directory -j3 test-services test-apart browser
	@$(MAKE) --no-print-directory -j2 test-e2e test-faults

browser:
	@.ci/browser

test-e2e:
	@$(BIN)/python -m pytest tests/e2e

test-services:
	@$(BIN)/python -m pytest tests/integration $(OWN_STACK:%=--ignore=%)

# Beside others, since all wait half their time, on stacks of their own; told when they end.
APART = output=$$(mktemp); $(BIN)/python -m pytest -p no:cacheprovider $(1) >$$output 2>&1; \
	status=$$?; cat $$output; rm $$output; exit $$status

test-apart:
	@$(call APART,tests/unit $(OWN_STACK))

test-faults:
	@$(call APART,tests/faults)

test-unit: setup ## The tests that need no service
	@$(BIN)/python -m pytest tests/unit

lint: setup ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
