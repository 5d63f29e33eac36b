# `make help` lists the targets. Everything runs in .venv, which is made as needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development

export PATH := $(CURDIR)/$(BIN):$(PATH)
# Set in many containers; without its bytecode each process spends two more seconds to start.
unexport PYTHONDONTWRITEBYTECODE

# Against a production-like environment that needs no services: the check reads settings only.
DEPLOY_ENV := DATABASE_URL=postgresql://localhost/carillon REDIS_URL=redis://localhost \
	ALLOWED_HOSTS=push.example.com \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(48))') \
	FIELD_ENCRYPTION_KEYS=$$($(BIN)/python -c 'from cryptography.fernet import Fernet as F; print(F.generate_key().decode())')

# Few examples in `make test`, many in `make chaos`.
PROPERTIES := tests/notifications/pipeline/test_properties.py tests/notifications/pipeline/test_policy.py \
	tests/devices/test_segments_reference.py \
	tests/devices/test_segments_check.py tests/devices/test_quiet.py

.DEFAULT_GOAL := help
.PHONY: help demo run smoke test browser screenshots chaos soak check static bench lint format pins clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Run everything here with sample data; prints address and login
	@exec $(BIN)/python -m simulator.demo

run: $(RUNTIME) ## Run the processes of Procfile
	@$(BIN)/python manage.py migrate --no-input --verbosity 0
	@port=$$($(BIN)/python -c 'import os; from config import env; print(env.load(os.environ).port)') && \
		exec $(BIN)/python -m config.embedded run -- honcho --env /dev/null start --port $$port

smoke: $(RUNTIME) ## Boot everything on fresh data, do the main job, report
	@exec $(BIN)/python -m simulator.smoke

# Three processes on two cores: some tests wait, for a timeout or another process, while others work.
test: $(DEVELOPMENT) ## Run the tests
	@exec $(BIN)/python -m pytest --numprocesses 3 --dist loadfile -m "not chaos and not soak and not browser" $(ARGS)

browser: $(DEVELOPMENT) ## Walk through the console in Chromium
	@exec $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m browser $(ARGS)

screenshots: $(DEVELOPMENT) ## Take the pictures in docs/screenshots of a demo that runs
	@exec $(BIN)/python -m tests.screenshots

chaos: $(DEVELOPMENT) ## Kill every process, stage every storm; SHORT=1 takes two minutes
	@$(BIN)/python -m pytest -s -m "$(if $(SHORT),short,chaos and not short)" tests/chaos $(ARGS)
	@$(if $(SHORT),:,HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest $(PROPERTIES))

soak: $(DEVELOPMENT) ## See for MINUTES=15 whether anything grows
	@exec $(BIN)/python -m pytest -s -m soak tests/chaos $(ARGS)

check: static test browser smoke ## Run all that CI runs
	@$(MAKE) --no-print-directory chaos SHORT=1

static: lint
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	@echo "$(BIN)/python manage.py check --deploy --fail-level WARNING"
	@$(DEPLOY_ENV) $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(RUNTIME) ## Measure; SIZE=1000000 sets the number of devices
	@exec $(BIN)/python -m benchmarks

lint: $(DEVELOPMENT) ## Check style
	$(BIN)/ruff format --check
	$(BIN)/ruff check

format: $(DEVELOPMENT) ## Repair style
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

pins: $(DEVELOPMENT) ## Resolve requirements*.in into requirements*.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		requirements.in --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins" \
		requirements-dev.in --output-file requirements-dev.txt

clean: ## Remove .venv, caches and the trial's data
	rm -rf .data $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Carillon needs Python 3.11 or newer. Name one: make PYTHON=python3.12 …"; exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt uv

# uv takes 9 seconds where pip takes 50; pip knows registries that are configured for pip alone, and says what is wrong.
install = $(BIN)/uv pip install --system-certs --quiet --python $(BIN)/python --requirement $(1) 2>/dev/null || \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(1)

$(RUNTIME): requirements.txt | $(VENV)/bin/uv
	@echo "Installing $< …"
	@$(call install,$<)
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME) | $(VENV)/bin/uv
	@echo "Installing $< …"
	@$(call install,$<)
	@touch $@
