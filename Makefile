.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run test test-3.12 soak lint types bench infra lock audit package clean

PY := .venv/bin/python
# One more than there are processors, because some tests wait.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Plugins that nothing here needs, and that take long to load.
NO_PLUGINS := -p no:anyio -p no:schemathesis
# A file's tests share a host, a browser, a dbt. The long files come first, and tests/unit last.
BY_FILE := --dist loadfile --no-loadscope-reorder

help: ## show this list
	@grep -hE '^[a-z0-9.-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## install what `make run` needs: Python packages and the storage emulator
	@local/setup.sh

setup-tests:
	@local/setup.sh tests

run: setup ## export yesterday on this machine and show what landed (STAY=1: a week, and a page; SIZE=2GB)
	@$(PY) -m local run $(if $(STAY),--stay) $(if $(SIZE),--size $(SIZE))

test: setup-tests ## run all tests, including those on real emulators (COVERAGE=1: fail below the floor in pyproject.toml)
	@$(PY) -m pytest $(NO_PLUGINS) -n $(WORKERS) $(BY_FILE) $(if $(COVERAGE),--cov --cov-report=term)

test-3.12: ## run the unit tests on Python 3.12
	@local/setup.sh 3.12
	@.venv-3.12/bin/python -m pytest tests/unit

soak: setup-tests ## run the slow tests: thousands of kills, long fuzzing, big days
	@$(PY) -m pytest -n auto --dist worksteal -m soak

lint: setup ## check the style
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: setup ## check the types
	@$(PY) -m mypy

package: setup ## build the command line as a package, install it into a fresh environment, and call it
	@local/package.sh

bench: setup ## measure this project, the ways people export today, and the limit
	@$(PY) -m bench

infra: setup-tests ## check templates, queries and workflows, as far as this machine can
	@infra/check.sh

audit: setup ## look for secrets in the files, and for known vulnerabilities of dependencies
	@.ci/audit

lock: setup ## pin the requirements again
	@for set in requirements:3.12 requirements-cli:3.12 requirements-test:3.12 requirements-delta:3.12 requirements-dev:3.13 infra/requirements-checkov:3.13; do \
		$(PY) -m uv pip compile --quiet --upgrade --universal --python-version $${set#*:} --generate-hashes --no-emit-index-url \
			--custom-compile-command "make lock" $${set%:*}.in -o $${set%:*}.txt; done

clean: ## remove everything that setup and runs have created
	@rm -rf .venv .venv-3.12 .venv-checkov .run .pytest_cache .mypy_cache .ruff_cache .hypothesis local/emulator/node_modules tests/browser/node_modules tests/infra/kusto/node_modules \
		landed downstream/target downstream/logs downstream/*.duckdb downstream/*.duckdb.wal build dist *.egg-info
