# Short commands for the CLI and the tests. `make` alone lists them.
SHELL := /bin/sh
BIN := .venv/bin
SITE ?= hosts.toml
LAB := .provisioner/lab/hosts.toml
# The lab creates network namespaces, which requires root.
ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)
Y := $(if $(CI),-y,)
# Where integration tests can run, `make test` also builds the programs that they start.
INTEGRATION := $(shell [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release && echo yes)

.DEFAULT_GOAL := help
.PHONY: help setup few cluster plan verify status destroy lab test e2e drills bench krew site lint clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install Debian packages (asks first) and create the virtual environment
	@./setup.sh $(Y)

# Managing servers takes neither QEMU nor compilers.
few:
	@./setup.sh $(Y) --few

cluster: few ## create the cluster that hosts.toml describes (starts Vagrant machines first)
	@$(BIN)/python -m provisioner.cli.vagrant -f $(SITE)
	@$(BIN)/provisioner -f $(SITE) apply
	@$(BIN)/provisioner -f $(SITE) verify

plan: few ## show what apply would change
	@$(BIN)/provisioner -f $(SITE) plan

verify: few ## check that the cluster works
	@$(BIN)/provisioner -f $(SITE) verify

status: few ## show the nodes
	@$(BIN)/provisioner -f $(SITE) status

lab: setup ## turn three blank machines into a verified cluster (SMALL=1: fewer workloads; NODES=vms or containers; KUBERNETES=1.20)
	@$(ROOT) $(BIN)/provisioner lab up $(if $(NODES),--nodes $(NODES),) $(if $(SMALL),--small,) $(if $(KUBERNETES),--kubernetes $(KUBERNETES),)
	@$(ROOT) $(BIN)/provisioner lab exec -- $(BIN)/provisioner -f $(LAB) apply -y
	@$(ROOT) $(BIN)/provisioner lab exec -- $(BIN)/provisioner -f $(LAB) verify

destroy: setup ## remove the lab
	@$(ROOT) $(BIN)/provisioner lab destroy

test: setup lint ## run lint, unit and integration tests (the latter need root on Debian)
	@$(if $(INTEGRATION),$(BIN)/python -m provisioner.lab.mirror build --for-tests --kubernetes $(or $(KUBERNETES),1.20) >/dev/null)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4

e2e: setup ## run the end-to-end tests on a new lab (NODES=vms, SUITE=faults|machines|unfriendly)
	@$(ROOT) $(BIN)/python -m pytest tests/e2e tests/drills -x -s --timeout=0

drills: setup ## cause failovers, storage faults and pool changes on the lab that `make lab` created
	@$(ROOT) $(BIN)/python -m pytest tests/drills -s --timeout=0

bench: setup ## run the benchmarks
	@$(BIN)/python -m tests.bench

krew: setup ## package kubectl l2 for Krew in dist/ (URL=where the archive will be published)
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .
	@$(BIN)/python krew/package.py dist $(or $(URL),$(error URL=https://… of the release is missing))

site: setup ## build the documentation as a site in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: setup ## run ruff, mypy, and import-linter for the boundaries between packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

clean: ## remove the virtual environment and the caches of tools
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist site
