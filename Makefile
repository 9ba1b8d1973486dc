# Every target does its own set-up; nothing needs to be installed by hand.
.DEFAULT_GOAL := help
BIN := .venv/bin
# Models are tested beside each other: their threads do not spin while they wait, see iotops/ray_cluster.py.
export OMP_WAIT_POLICY := PASSIVE
# Containers often forbid to keep bytecode: each of dozens of processes would compile torch and Ray anew.
unexport PYTHONDONTWRITEBYTECODE

# On a stack of its own, which is killed again and again, or a cluster that is none of the stack's.
APART := tests/integration/test_stack.py tests/integration/test_gpu_share.py
# What computes most comes first, before the other half serves a language model; a crash test before there is
# anything else to read.
FIRST := tests/integration/test_tuning.py tests/integration/test_crash.py
SERVICES = $(FIRST) $(filter-out $(FIRST) $(APART),$(sort $(wildcard tests/integration/test_*.py)))

.PHONY: help setup demo up down test half half-apart browser test-services test-faults test-apart test-e2e \
	test-unit lint

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
	@$(MAKE) --no-print-directory -j2 half half-apart

# Two halves beside each other, since all wait half their time, on stacks of their own; a third starves them.
IN_TURN = failed=0; for each in $(1); do $(MAKE) --no-print-directory $$each || failed=1; done; exit $$failed

half:
	+@$(call IN_TURN,test-services test-faults)

half-apart:
	+@$(call IN_TURN,browser test-apart test-e2e)

browser:
	@.ci/browser

test-services:
	@$(BIN)/python -m pytest $(SERVICES)

test-faults:
	@$(BIN)/python -m pytest tests/faults

# Told when it ends, not into the middle of the other half's lines.
TOLD_LATER = output=$$(mktemp); $(BIN)/python -m pytest -p no:cacheprovider $(1) >$$output 2>&1; \
	status=$$?; cat $$output; rm $$output; exit $$status

test-apart:
	@$(call TOLD_LATER,tests/unit $(APART))

test-e2e:
	@$(call TOLD_LATER,tests/e2e)

test-unit: setup ## The tests that need no service
	@$(BIN)/python -m pytest tests/unit

lint: setup ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
