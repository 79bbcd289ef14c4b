# Everything runs in .venv, from the pinned requirements.lock; a fresh machine needs Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
IMAGE ?=
NODE_PACKAGES := containerd runc containernetworking-plugins busybox-static nftables iptables conntrack iproute2
COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate --generate-hashes $(if $(UPGRADE),--upgrade) pyproject.toml
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "stateful-route needs Python 3.11 or newer; set PYTHON=…" >&2; exit 1; }
	@echo "Setting up $(VENV) (about a minute) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP) ## Set up .venv with everything pinned

demo: $(STAMP) ## Play the whole story on this machine: pods fail, drain and scale, users move
	@$(BIN)/stateful-route demo $(ARGS)

control-plane: $(STAMP) ## Find the control plane, Helm and promtool that tests use, or build them (about 15 minutes)
	@$(BIN)/python -m stateful_route.devcluster

test: $(if $(ARGS),$(STAMP),control-plane) ## Run all tests (ARGS="tests/unit -k brake" for some of them), JOBS=2 at a time
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-kind: $(STAMP) ## Run tests/node on kind instead of nodes of this machine's own: Docker, kind and root
	@STATEFUL_ROUTE_TEST_NODES=kind $(BIN)/python -m pytest tests/node $(ARGS)

test-matrix: $(STAMP) ## Try the servers of docs/reference/servers.md, got from packages, and print its table (ARGS=stores)
	@$(BIN)/python tools/matrix.py $(ARGS)

node-packages: ## Install what tests/node needs, with apt: containerd and the like; root, on Debian or its kin
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	echo "make node-packages needs root and apt-get; elsewhere install: $(NODE_PACKAGES)" >&2; exit 1; fi
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(NODE_PACKAGES) >/dev/null

lint: $(STAMP) ## ruff, mypy, import-linter, and the documentation without a warning
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory docs

docs: $(STAMP) ## Build the documentation: build/docs/index.html
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet --doctree-dir build/doctrees docs build/docs

chart: $(STAMP) ## Write what the Helm chart takes from elsewhere: the CRD, the version, the table of its values
	@$(BIN)/python tools/chart.py

image: ## Build the operator's image with Docker or Podman, IMAGE=stateful-route:<version>
	@if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then engine=docker; \
	elif podman info >/dev/null 2>&1; then engine=podman; \
	else echo "make image needs Docker or Podman, and neither answers here: start one, or install one" >&2; exit 1; fi; \
	tag=$(IMAGE); tag=$${tag:-stateful-route:$$(sed -n 's/^__version__ = "\(.*\)"$$/\1/p' operator/stateful_route/__init__.py)}; \
	$$engine build --tag "$$tag" . && echo "built $$tag with $$engine"

release-check: $(STAMP) ## Build wheel, sdist, chart and documentation into dist/, and try each in an empty place
	@$(BIN)/python tools/release.py

twins: $(STAMP) ## Write the synchronous twins of the asynchronous modules
	@$(BIN)/python tools/twins.py

format: $(STAMP) ## Let ruff format and fix what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(STAMP) ## Measure and print the tables of figures
	@$(BIN)/python -m benchmarks $(ARGS)

lock: ## Refresh requirements.lock, and that of the image, from pyproject.toml
	@$(COMPILE) --extra dev -o requirements.lock
	@$(COMPILE) --extra operator --constraint requirements.lock -o requirements-operator.lock

clean: ## Remove .venv and caches of this checkout (the control plane's cache stays)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

.PHONY: help setup control-plane demo test test-kind test-matrix node-packages lint docs chart image release-check twins format bench \
	lock clean
