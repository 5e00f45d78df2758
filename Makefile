# One-line verbs onto the CLI and the tests. `make` alone lists them.
SHELL := /bin/sh
BIN := .venv/bin
SITE ?= hosts.toml
LAB := .provisioner/lab/hosts.toml
# The lab makes network namespaces, which only root may.
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
Y := $(if $(CI),-y,)

.DEFAULT_GOAL := help
.PHONY: help setup few cluster plan verify status destroy lab test e2e drills bench lint clean

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Debian packages (asks first) and the virtual environment
	@./setup.sh $(Y)

# Nobody has to install QEMU and compilers to look after servers.
few:
	@./setup.sh $(Y) --few

cluster: few ## make the cluster that hosts.toml describes (Vagrant machines are brought up first)
	@$(BIN)/python -m provisioner.cli.vagrant -f $(SITE)
	@$(BIN)/provisioner -f $(SITE) apply
	@$(BIN)/provisioner -f $(SITE) verify

plan: few ## show what apply would change
	@$(BIN)/provisioner -f $(SITE) plan

verify: few ## prove that the cluster works
	@$(BIN)/provisioner -f $(SITE) verify

status: few ## show the nodes
	@$(BIN)/provisioner -f $(SITE) status

lab: setup ## three blank VMs on this machine become a verified cluster (SMALL=1: few workloads; KUBERNETES=1.37)
	@$(ROOT) $(BIN)/provisioner lab up $(if $(SMALL),--small,) $(if $(KUBERNETES),--kubernetes $(KUBERNETES),)
	@$(ROOT) $(BIN)/provisioner lab exec -- $(BIN)/provisioner -f $(LAB) apply -y
	@$(ROOT) $(BIN)/provisioner lab exec -- $(BIN)/provisioner -f $(LAB) verify

destroy: setup ## remove the lab's VMs and all they left
	@$(ROOT) $(BIN)/provisioner lab destroy

test: setup lint ## unit and integration tests (the latter need root)
	@$(BIN)/python -m pytest

e2e: setup ## the whole road on the lab, killed on the way (SUITE=full, KUBERNETES=1.37)
	@$(ROOT) $(BIN)/python -m pytest tests/e2e -x -s --timeout=0

drills: setup ## failovers, storage faults and moving pools, on the lab that `make lab` left
	@$(ROOT) $(BIN)/python -m pytest tests/drills -s --timeout=0

bench: setup ## figures, as ratios in one run
	@$(BIN)/python -m tests.bench

lint: setup ## ruff, mypy, and import-linter for the boundaries between packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

clean: ## remove what tests and tools leave in the checkout
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
