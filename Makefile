# Everything a fresh Debian machine with Python 3.11, pip and venv needs is installed by these targets.
VENV := .venv
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
ARGS ?=
# Some machines ask Python to keep no compiled files; the tests start hundreds of processes, each of which would compile
# all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test explore fuzz simulate check benchmark benchmark-validation benchmark-questions soak profile pictures lock format

help: ## Show what can be done here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Make the virtual environment from the lock file

$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) from requirements.lock"
	@test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	@test -x $(UV) || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(UV) pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode requirements.lock
	@$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Run both ends on this machine (ARGS="--once", ARGS="--history FILE", ...)
	@$(VENV)/bin/heliograph demo $(ARGS)

test: $(READY) ## Static checks, then every test
	@$(VENV)/bin/python -m pytest -n auto $(ARGS)

explore: $(READY) ## Every property test with examples of chance, new ones each time (ARGS="-k once", ...)
	@$(VENV)/bin/python -m pytest -n auto -p no:cacheprovider --hypothesis-profile=explore --hypothesis-seed=random -m hypothesis $(ARGS)

fuzz: $(READY) ## Fuzz a target, led by coverage (ARGS="lines -max_total_time=600"; targets: tests/fuzz_targets.py)
	@$(VENV)/bin/python tests/fuzz/fuzz.py $(ARGS)

simulate: $(READY) ## Search for a history that breaks a promise (ARGS="--seed 123" replays one, "--histories 100000")
	@PYTHONPATH=tests $(VENV)/bin/python -m simulation $(ARGS)

check: $(READY) ## Static checks alone: format, lint, types, layers
	@$(VENV)/bin/python -m pytest tests/test_static.py

benchmark: $(READY) ## Measure throughput beside the machine's own limits
	@$(VENV)/bin/python benchmarks/throughput.py $(ARGS)

benchmark-validation: $(READY) ## Measure what validation costs, beside decoding alone
	@$(VENV)/bin/python benchmarks/validation.py $(ARGS)

benchmark-questions: $(READY) ## Measure questions, from marts and events (ARGS="--events 5000000 --events 50000000")
	@$(VENV)/bin/python benchmarks/questions.py $(ARGS)

soak: $(READY) ## Ten minutes at a bounded rate: does any process's memory grow?
	@$(VENV)/bin/python benchmarks/soak.py $(ARGS)

profile: $(READY) ## Where the gateway's time goes under load
	@$(VENV)/bin/python benchmarks/gateway_profile.py $(ARGS)

format: $(READY) ## Format and mend what can be mended
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format --quiet .

pictures: $(READY) ## Take the README's pictures again, from a real run
	@$(VENV)/bin/python docs/pictures.py

lock: ## Renew requirements.lock from pyproject.toml
	@test -x $(UV) || { python3 -m venv $(VENV) && $(VENV)/bin/python -m pip install --quiet 'uv>=0.9'; }
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra demo --extra spark --extra traces --group dev \
	  --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
