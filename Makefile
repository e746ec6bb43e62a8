# Everything runs in a virtual environment of the checkout, made on first use and renewed when pyproject.toml changes.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Twice as many as there are cores: a test waits for timers and other processes half of its time.
PROCESSES ?= $(shell echo $$(( 2 * $$(nproc 2>/dev/null || echo 2) )))
HELM ?= helm
PROJECT_URL ?=
PACKAGE_INDEX ?=
CHART_REGISTRY ?=
BASE ?=
IMAGE ?=
VERSION ?=

# Where it is set, every process of every test compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo check test test-long test-deploy profiles modules schema chart pictures viewer browser version audit release push-package push-chart push-image docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) ## install the package and its development tools into .venv

demo: $(INSTALLED) ## write a small world whose fine truth is known into demo-run/, and run everything on it
	@if [ -e demo-run/.made-by-make ]; then echo "demo-run is from an earlier 'make demo' and is made anew"; rm -rf demo-run; fi
	@mkdir demo-run || { echo "demo-run was not made by 'make demo': move it away first" >&2; exit 64; }
	@touch demo-run/.made-by-make
	$(BIN)/soilscale demo demo-run

check: $(INSTALLED) ## style, types, and the layers of modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Each process of tests has one core; more threads of linear algebra would spin for theirs.
test test-long test-deploy: export OMP_NUM_THREADS := 1
test: check browser ## check, then every test
	$(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-long: check ## measurements, and the proofs that `make test` does with one seed, with others
	$(BIN)/pytest -m long -n $(PROCESSES)

test-deploy: check ## every proof of image and chart, the longer ones and those in containers too
	$(BIN)/pytest -m "" -n $(PROCESSES) --dist loadfile tests/deploy

profiles: $(INSTALLED) ## renew docs/profiles.md, which is made from the product profiles
	$(BIN)/python -c "from pathlib import Path; from soilscale import listing; Path('docs/profiles.md').write_text(listing.page(), 'utf-8')"

modules: $(INSTALLED) ## renew docs/modules.md, the map of the modules
	$(BIN)/python tests/modules.py

schema: $(INSTALLED) ## renew what comes from the keys of the configuration: docs/soilscale.schema.json and the tables of docs/configuration.md
	$(BIN)/python docs/keys.py
	$(BIN)/python -c "import json, soilscale; print(json.dumps(soilscale.config_schema(), indent=1, ensure_ascii=False))" > docs/soilscale.schema.json

chart: $(INSTALLED) ## renew what is made from the chart: the table in its README and the golden renders of the tests
	$(BIN)/python helm/document.py
	$(BIN)/python tests/charts.py

pictures: $(INSTALLED) ## renew the pictures of the documentation from demo-run/, which `make demo` writes
	$(BIN)/python docs/pictures.py demo-run

# npm clean-install takes the versions of package-lock.json alone, and esbuild the same bytes from them.
viewer: ## renew the page of the viewer, which is built from viewer/ and lies in the package; needs npm
	npm --prefix viewer clean-install --ignore-scripts --silent
	npm --prefix viewer run --silent build

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq chromium >/dev/null; } || \
	  echo "there is no chromium, so the tests that open the report in a browser are skipped: apt-get install chromium" >&2

version: $(INSTALLED) ## set the version, VERSION=0.2.0, in all files that state it
	@test -n "$(VERSION)" || { echo "name the version: make version VERSION=0.2.0" >&2; exit 64; }
	$(BIN)/python deploy/version.py "$(VERSION)"
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(MAKE) --no-print-directory chart

# Both need the advisories of their registries; --strict, since pip-audit passes what its index knows no advisories of.
audit: $(INSTALLED) ## look up known vulnerabilities of the image's packages and of the viewer's; needs the network
	@$(BIN)/pip-audit --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet 'pip-audit>=2.10,<3'
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement deploy/requirements.txt || \
	  { echo "pip-audit names vulnerable packages above, or could not look them up here" >&2; exit 65; }
	npm --prefix viewer audit --package-lock-only

# SOURCE_DATE_EPOCH is the time of the commit unless it is set. PROJECT_URL is the project's page, which the chart then names.
# BASE is the image's base, by digest (debian@sha256:...); BASE=none leaves the image out.
release: check ## build wheel, sdist, chart, image, SBOMs, checksums and provenance into release/, the same bytes each time
	@rm -rf release
	$(BIN)/python deploy/release.py release --helm $(HELM) --url "$(PROJECT_URL)" --base "$(BASE)"

push-package: ## upload wheel and sdist of release/ to PACKAGE_INDEX
	@test -n "$(PACKAGE_INDEX)" || { echo "name the index: make push-package PACKAGE_INDEX=https://..." >&2; exit 64; }
	$(BIN)/uv publish --publish-url "$(PACKAGE_INDEX)" release/*.whl release/*.tar.gz

push-chart: ## push the chart of release/ to CHART_REGISTRY, oci://...
	@test -n "$(CHART_REGISTRY)" || { echo "name the registry: make push-chart CHART_REGISTRY=oci://..." >&2; exit 64; }
	$(HELM) push release/soilscale-*.tgz "$(CHART_REGISTRY)"

push-image: ## push the image of release/ to IMAGE, registry.example.org/soilscale:TAG, and print its digest; needs skopeo
	@test -n "$(IMAGE)" || { echo "name the image: make push-image IMAGE=registry.example.org/soilscale:0.1.0" >&2; exit 64; }
	skopeo copy --digestfile release/image.digest oci-archive:$$(ls release/soilscale-*-image.tar) "docker://$(IMAGE)"
	@cat release/image.digest; echo

docs: $(INSTALLED) ## build the documentation into site/
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html -d site/doctrees docs site/html
	@echo "site/html/index.html"

clean: ## remove the environment, caches and site/; never the products of a run
	rm -rf viewer/node_modules $(VENV) site dist build release .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .servers .tools
	find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one that is: make PYTHON=python3.13" >&2; exit 64; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq python3-venv; } || \
	  { echo "$(PYTHON) has no ensurepip, which a virtual environment needs: apt-get install python3-venv" >&2; exit 69; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@
