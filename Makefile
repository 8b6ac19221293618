# Every verb makes .venv when it is not there, so each works on a fresh clone with Python 3.11+ and make alone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Most tests wait for servers, so three at a time for each of two cores. Not with ARGS: a few tests are there sooner in one
# process, and say more plainly what they do; ARGS="-n 6 …" spreads them too.
PROCESSES ?= 6
SPREAD := $(if $(ARGS),,-n $(PROCESSES))
# The peers of the benchmarks in Python: environments of their own, with the worker's versions where both use a package.
PEERS := $(addprefix tests/benchmarks/peers/,faststream arroyo original)
# Else every process compiles all modules again, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
# As worker/clickhouse/__init__.py, for processes that import the driver without the worker.
export CLICKHOUSE_DRIVER_LASY_DATE_LUT := 1

.PHONY: help demo explore console test test-kafka check check-deploy format bench chaos fuzz release lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort

demo: $(READY)  ## run real executions through a broker, the worker and ClickHouse, and show what came of them
	@$(BIN)/python -m deploy.local demo

explore: $(READY)  ## keep the local stack running with a month of executions, and print queries to try; ARGS="--count 100000"
	@$(BIN)/python -m deploy.local explore $(ARGS)

console: $(READY)  ## keep the local stack running with dead letters of every kind, and the console to look at them
	@$(BIN)/python -m deploy.local console $(ARGS)

test: $(READY)  ## run every test against the real broker and the real ClickHouse engine; ARGS=… goes to pytest
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && TMPDIR="$$folder" $(BIN)/python -m pytest $(SPREAD) $(ARGS)

test-kafka: $(READY)  ## what depends on the broker, against Apache Kafka (Java 17, Maven)
	@$(BIN)/python -m deploy.local.apache_kafka fetch
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && TMPDIR="$$folder" \
	    $(BIN)/python -m pytest $(SPREAD) --broker kafka tests/kafka tests/integration tests/contract $(ARGS)

check: $(READY)  ## format, lint, types, layers, what is unsafe
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --recursive worker schemas

check-deploy: $(READY)  ## image, manifests, alerts, dashboards, status page; fetches its tools once (Go, Debian's prometheus and Chromium); ARGS=--allow-missing
	@$(BIN)/python -m deploy.checks $(ARGS)

format: $(READY)  ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## what the worker costs beside its libraries and its peers, and how fast it is; ARGS=peers, ARGS="shapes latency", …
	@$(BIN)/python -m tests.benchmarks $(ARGS)

chaos: $(READY)  ## break broker, engine and workers on purpose; the books must balance; ARGS=… as --help has them
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(READY)  ## hostile records through the real servers, every one accounted for; ARGS="--short", "--records 1000000", …
	@$(BIN)/python -m tests.fuzz $(ARGS)

release: $(READY)  ## build sdist, wheel, Helm chart and SBOM of the commit into dist, twice, and compare; publishes nothing; ARGS=--draft before all files fit
	@$(BIN)/python -m deploy.release $(ARGS)

lock: $(READY)  ## pin every dependency again, with hashes and without index addresses
	$(BIN)/uv pip compile pyproject.toml --universal --all-extras --generate-hashes --no-emit-index-url \
	    --python-version 3.11 --no-header --upgrade --output-file constraints.txt
	$(BIN)/uv pip compile pyproject.toml --universal --extra console --extra edit --extra opentelemetry --generate-hashes --no-emit-index-url \
	    --python-version 3.11 --no-header --constraints constraints.txt --output-file deploy/requirements.txt
	for peer in $(PEERS); do $(BIN)/uv pip compile $$peer/requirements.in --universal --generate-hashes \
	    --no-emit-index-url --no-annotate --python-version 3.11 --no-header --constraints constraints.txt \
	    --output-file $$peer/requirements.txt || exit; done
	echo hatchling | $(BIN)/uv pip compile - --universal --generate-hashes --no-emit-index-url --no-annotate \
	    --python-version 3.11 --no-header --constraints constraints.txt --output-file deploy/build-requirements.txt
	echo cyclonedx-bom | $(BIN)/uv pip compile - --universal --generate-hashes --no-emit-index-url --no-annotate \
	    --python-version 3.11 --no-header --output-file deploy/release/cyclonedx.txt

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .pictures

$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
