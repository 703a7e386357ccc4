# Everything needs only python3 (3.11 or later, with venv); the rest is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The directory counts too: a copied .venv still runs the programs of the original.
KEY := $(shell { echo "$(CURDIR)"; cat requirements.txt; } | cksum | cut -d' ' -f1)
DEV_KEY := $(shell { echo "$(CURDIR)"; cat requirements.txt requirements-dev.txt; } | cksum | cut -d' ' -f1)
INSTALLED := $(VENV)/installed-$(KEY)
DEV_INSTALLED := $(VENV)/installed-dev-$(DEV_KEY)
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench faults hosts chaos simulate mutants screenshots

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Start everything on this machine; Ctrl-C stops it (PORT, VAR_DIR, DATABASE_URL, REDIS_URL)
	@$(BIN)/python -m deploy.local

test: $(DEV_INSTALLED) ## Run every test, three at a time (ARGS="-k line" for some, ARGS="-n 0" one at a time)
	@sh deploy/test_setup.sh
	@$(BIN)/python -m pytest -n 3 $(ARGS)

lint: $(DEV_INSTALLED) ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(DEV_INSTALLED) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(DEV_INSTALLED) ## Measure throughput and latency on this machine
	@$(BIN)/python -m bench $(ARGS)

faults: $(DEV_INSTALLED) ## Break every part, TIMES times over, and write the table of docs/reliability.md
	@sh deploy/test_setup.sh
	@$(BIN)/python -m tests.faults.report --times $(or $(TIMES),1)

hosts: $(DEV_INSTALLED) ## Cut off one host after another in the midst of sales for PEOPLE, and print the table of docs/scaling.md
	@sh deploy/test_setup.sh
	@$(BIN)/python -m tests.hosts.several --people $(or $(PEOPLE),5000)

chaos: $(DEV_INSTALLED) ## Ten minutes of claims while something breaks every 5 s (SECONDS, CLAIMS, SEED)
	@sh deploy/test_setup.sh
	@$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),600) --claims $(or $(CLAIMS),50000) --seed $(or $(SEED),1)

simulate: $(DEV_INSTALLED) ## Step everything through faults, STEPS in all from SEED on; the shortest history of a violation (DATABASE=mariadb)
	@sh deploy/test_setup.sh
	@$(BIN)/python -m tests.simulation.play $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE))

mutants: $(DEV_INSTALLED) ## Take out one guard after the other, see that the simulation catches it, and write the table (STEPS; ONLY=clock for some)
	@sh deploy/test_setup.sh
	@$(BIN)/python -m tests.simulation.mutants.run $(if $(STEPS),--steps $(STEPS)) $(if $(ONLY),--only "$(ONLY)")

screenshots: $(DEV_INSTALLED) ## Take pictures of every state of the pages, into build/pages, and some into docs/pages
	@sh deploy/test_setup.sh
	@rm -rf build/pages && mkdir -p build/pages
	@SCREENSHOTS_DIR=build/pages $(BIN)/python -m pytest tests/browser/test_states.py tests/browser/test_jobs.py tests/browser/test_jobs_of_a_sale.py $(ARGS)
	@$(BIN)/python -m tests.browser.pictures build/pages

$(INSTALLED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "FirstCome needs Python 3.11 or later; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing the packages of requirements.txt into $(VENV)" >&2
	@$(PYTHON) -m venv --clear $(VENV) || \
		{ echo "this Python cannot make a venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) -r requirements.txt
	@touch $@

$(DEV_INSTALLED): $(INSTALLED)
	@echo "installing the packages of requirements-dev.txt into $(VENV)" >&2
	@$(PIP) -r requirements-dev.txt
	@touch $@
