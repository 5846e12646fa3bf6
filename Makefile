# `make demo` and `make test` are all that one needs; each sets up what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo run test check verify fuzz bench sidecar kustomize up down lock clean

demo: $(VENV)/.installed
	@$(BIN)/wsm demo

run: $(VENV)/.installed
	@$(BIN)/wsm run $(ARGS)

# make test ARGS="tests/unit -k sweep" runs a part, without coverage.
test: $(VENV)/.installed sidecar kustomize
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/pytest tests/unit tests/contract tests/integration --cov
	$(BIN)/pytest tests/fuzz
	$(BIN)/pytest tests/model
	$(BIN)/pytest tests/acceptance
endif

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# All files of deployment, without a cluster: parsed, against schemas, and names, ports and secrets against each other.
verify: $(VENV)/.installed sidecar kustomize
	@$(BIN)/python -m deploy.verify

# make fuzz MINUTES=60 looks longer, at other inputs each time; what it finds becomes a test with its input written out.
fuzz: $(VENV)/.installed
	HYPOTHESIS_PROFILE=long FUZZ_MINUTES=$(or $(MINUTES),15) $(BIN)/pytest tests/fuzz

# make bench ONLY=throughput JSON=figures.json measures one group of rows, and writes them to a file too. Groups that take
# long are measured only so: BENCHMARKS.md names them.
bench: $(VENV)/.installed sidecar
	$(BIN)/python -m tests.bench.bench $(if $(JSON),--json $(JSON)) $(addprefix --only=,$(ONLY))

# A Dapr sidecar in the user's cache folder, built once (about 6 minutes), unless a supported one is on PATH.
sidecar:
	@deploy/sidecar/build.sh

# Renders the overlays of Kubernetes; built once in the user's cache folder.
kustomize:
	@deploy/kubernetes/kustomize/build.sh

# The local set on real sidecars, in the background: make up HOSTS=2
up: $(VENV)/.installed sidecar
	@HOSTS=$(HOSTS) $(BIN)/python -m deploy.local.up

down: $(VENV)/.installed
	@$(BIN)/python -m deploy.local.down

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "installing what requirements.lock names into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Needs uv. The lock names no index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--extra dev -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--no-annotate -c requirements.lock -o deploy/image.lock pyproject.toml
	echo hatchling | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate -c requirements.lock -o deploy/image-build.lock -

clean:
	rm -rf $(VENV)
