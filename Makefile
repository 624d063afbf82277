# Everything runs in .venv, made here from the hashed lock files. `make demo` and `make test` need nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-all test-page test-spark test-prefect compatibility storm chaos chaos-seeds fuzz nightly soak lint audit format bench bench-memory bench-hour env smoke test-docker test-deploy cluster up down doctor lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(VENV)/.run  ## recorded and synthetic trades through every layer, in about half a minute
	$(BIN)/medallion demo

# Compiled modules are kept, also where the environment says otherwise: hundreds of processes import the same ones.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder

test:  ## every invariant, the same examples and seeds every time
	@$(MAKE) --no-print-directory -j 2 $(VENV)/.dev $(VENV)-conformance/.ready  # two environments at once
	$(PYTEST) -m "not nightly" -p no:schemathesis --durations 30

test-all: $(VENV)/.page $(VENV)-conformance/.ready  ## all tests, with more and new examples (an hour)
	$(PYTEST) --hypothesis-profile nightly --durations 30

test-page: $(VENV)/.page  ## the page's journeys in Debian's Chromium, which apt installs where it can
	$(BIN)/python -m pytest tests/serving/page/test_page.py

test-spark: $(VENV)/.dev $(VENV)-spark/.ready  ## what Spark reads in the cold tables (Java, Maven and 400 MB)
	$(BIN)/python -m pytest tests/offload/test_other_engines.py

# Prefect's tests run in its environment: its harness is for flows of its own process.
test-prefect: $(VENV)-prefect/.ready  ## the schedules as flows of Prefect, with Prefect's own harness
	$(VENV)-prefect/bin/python -m pytest -m prefect tests/series/prefect

# COMPATIBILITY_SOURCES is a folder with a git checkout of each client; without them the command says how to get them.
compatibility: $(VENV)/.dev $(VENV)-clients/.ready  ## the test suites of clickhouse-driver and clickhouse-connect, and dbt (a quarter of an hour)
	$(BIN)/python -m pytest tests/node/clients
	$(BIN)/python -m tests.node.clients.compatibility --python $(VENV)-clients/bin/python --sources $${COMPATIBILITY_SOURCES:-.compatibility}

# STORM_SEED repeats a storm whose seed a failure named.
storm: $(VENV)/.dev  ## 1,000 faults for the offload, half on a folder, half on a real S3 server
	STORM_FAULTS=$${STORM_FAULTS:-500} STORM_SEED=$${STORM_SEED:-$$(shuf -i 0-4294967295 -n 1)} $(BIN)/python -m pytest tests/offload/hourly/test_storm.py -s

# CHAOS_SEEDS (one, or several with commas) repeats storms whose seeds failures named; CHAOS_KILLS and CHAOS_BROKER
# (memory or kafka) change them.
chaos: $(VENV)/.dev  ## at least 1,000 SIGKILLs in one run of the whole stack, then every candle compared (over an hour)
	CHAOS_KILLS=$${CHAOS_KILLS:-1000} CHAOS_SEEDS=$${CHAOS_SEEDS:-$$(shuf -i 0-4294967295 -n 1)} \
	  $(BIN)/python -m pytest tests/chaos -k "$${CHAOS_BROKER:-kafka}"

# The first seed is of a storm after which Silver stood still for good; the others are new ones every night.
chaos-seeds: $(VENV)/.dev  ## 21 storms of 30 SIGKILLs over the whole stack on Apache Kafka (two hours)
	CHAOS_KILLS=30 CHAOS_SEEDS=$${CHAOS_SEEDS:-625283802,$$(shuf -i 0-4294967295 -n 20 | paste -sd,)} \
	  $(BIN)/python -m pytest tests/chaos -k kafka

# MEDALLION_FUZZ_SEED repeats a run whose seed a failure named.
fuzz: $(VENV)/.dev  ## an hour of hostile bytes at both ports of the embedded node
	MEDALLION_FUZZ_SECONDS=$${MEDALLION_FUZZ_SECONDS:-3600} MEDALLION_FUZZ_SEED=$${MEDALLION_FUZZ_SEED:-$$(shuf -i 0-4294967295 -n 1)} \
	  $(BIN)/python -m pytest tests/node/test_hostile_bytes.py -k mutated --timeout 0 -s

nightly: audit test-all test-prefect chaos-seeds chaos storm soak fuzz  ## all tests, every long storm and the soak (many hours; with `make -k nightly` failures do not stop it)

soak: $(VENV)/.dev  ## an hour of simulated trading in six minutes, a fault every five seconds of it
	MEDALLION_SOAK_SPEED=10 MEDALLION_SOAK_FAULT_S=5 $(BIN)/python -m pytest tests/producers/stream/test_soak.py

lint: $(VENV)/.dev  ## ruff, mypy --strict, the import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev  ## known vulnerabilities of the locked packages (asks PyPI, whose answer changes daily)
	$(BIN)/python .ci/audit requirements.txt requirements-dev.txt

format: $(VENV)/.dev  ## rewrite the sources in house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One figure in a minute: `.venv/bin/python -m bench --help`.
bench: $(VENV)/.dev $(VENV)-bench/.ready  ## measure rate, latency and cost on this machine, and compare with the ADR (under half an hour)
	$(BIN)/python -m bench

bench-memory: $(VENV)/.dev  ## 50 million trades through a Silver worker, of one symbol and of 500, and its memory (an hour)
	$(BIN)/python -m bench memory

bench-hour: $(VENV)/.dev  ## an hour at 5,000 trades/s, and the parts of every table every 5 s
	$(BIN)/python -m bench parts --hour

env:  ## write .env for docker compose, with fresh passwords
	deploy/compose/make-env.sh

smoke:  ## check the running compose stack: candles, dead letters, offload, metrics, dashboards
	docker compose run --rm medallion smoke

test-docker: $(VENV)/.dev  ## tests that need a Docker engine: the real images
	$(BIN)/python -m pytest -m docker

# Go builds what has no package here, once, into ~/.cache/medallion: Compose in four minutes of two free cores, the API
# server in nine, SeaweedFS in fifteen. What has no toolchain skips and says which.
test-deploy: $(VENV)/.dev  ## tests of the deployment with real Compose, Prometheus, Alertmanager, SeaweedFS and a Kubernetes API server
	$(BIN)/python -m pytest -m deploy_real -v --durations 10

# Its own name, so that the committed file says what an installation named so would be.
cluster:  ## render the Helm chart's manifests again, into deploy/cluster/rendered.yaml (needs helm)
	helm template medallion deploy/cluster > deploy/cluster/rendered.yaml 2>/dev/null

up: $(VENV)/.run  ## start the embedded stack in the background, with its page
	$(BIN)/medallion up --detach --serve

down: $(VENV)/.run  ## stop it
	$(BIN)/medallion down

doctor: $(VENV)/.run  ## check this host and the embedded stack, and say how to repair them
	$(BIN)/medallion doctor

PIN := $(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock:  ## pin every dependency again, hashes included (after `make test` has made .venv)
	$(PIN) -o requirements.txt pyproject.toml
	$(PIN) --extra embedded --extra chart -c requirements.txt -o requirements-embedded.txt pyproject.toml
	$(PIN) --extra equities -c requirements-embedded.txt -o requirements-equities.txt pyproject.toml
	$(PIN) --extra embedded --extra chart --extra equities --extra dev -c requirements-embedded.txt -c requirements-equities.txt -o requirements-dev.txt pyproject.toml
	printf '%s\n' pip setuptools uv wheel | $(PIN) -c requirements-dev.txt -o requirements-build.txt -
	printf '%s\n' playwright | $(PIN) -c requirements-dev.txt -o requirements-page.txt -
	printf '%s\n' 'cython>=3' setuptools setuptools-scm wheel | $(PIN) -c requirements-build.txt -o requirements-faust.txt -
	$(PIN) -o requirements-conformance.txt tests/conformance/requirements.in
	$(PIN) -o requirements-spark.txt tests/offload/spark/requirements.in
	$(PIN) -o requirements-clients.txt tests/node/clients/requirements.in
	$(PIN) -o requirements-bench.txt bench/silver/requirements.in
	$(PIN) --extra embedded --extra prefect -o requirements-prefect.txt pyproject.toml tests/series/prefect/requirements.in

clean:  ## remove the virtual environments and the default data folder
	rm -rf $(VENV) $(VENV)-* .medallion

# `python3 -m venv` needs Debian's python3-venv; without it pip may still be there to fill an empty environment.
INSTALL := -m pip install -q --disable-pip-version-check --require-hashes
define environment
$(PYTHON) -m venv $(1) || { rm -rf $(1); $(PYTHON) -m venv --without-pip $(1) && $(PYTHON) -m pip --python $(1)/bin/python install -q --require-hashes -r requirements-build.txt; } \
  || { echo "Cannot make a virtual environment: install python3-venv (apt install python3-venv), then run make again." >&2; exit 1; }
endef

$(VENV)/.made: requirements-build.txt
	$(call environment,$(VENV))
	$(BIN)/python $(INSTALL) -r requirements-build.txt
	touch $@

# What a lock names, into an environment. uv takes a tenth of pip's time. It does not read pip's configuration, so pip
# goes where uv does not get through (a mirror, a proxy).
define locked
$(BIN)/uv pip install -q --system-certs --python $(1)/bin/python --require-hashes -r $(2) \
  || $(1)/bin/python $(INSTALL) --no-compile -r $(2)
endef

# What a lock names, then this project. A module that does not compile stops nothing. What few processes import, the first
# of them compiles.
RARE := /(tests|ccxt|pip|setuptools|mypy|mypyc|matplotlib|fontTools|hive_metastore|Crypto|schemathesis|graphql|PIL)/
define installed
$(call locked,$(VENV),$(1))
-$(BIN)/python -m compileall -q -j 0 -x '$(RARE)' $(VENV)/lib
$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
endef

$(VENV)/.run: $(VENV)/.made requirements-embedded.txt pyproject.toml
	$(call installed,requirements-embedded.txt)
	touch $@

# It has all that `.run` has: one installation is quicker than two.
$(VENV)/.dev: $(VENV)/.made requirements-embedded.txt requirements-dev.txt pyproject.toml
	$(call installed,requirements-dev.txt)
	touch $(VENV)/.run $@

# Playwright drives the Chromium of the distribution; its own builds are not downloaded.
$(VENV)/.page: $(VENV)/.dev requirements-page.txt
	$(BIN)/python $(INSTALL) -r requirements-page.txt
	command -v chromium || { command -v apt-get && apt-get -y -q install chromium; } || echo "Chromium is not installed: the page's tests skip." >&2
	touch $@

# The real Kafka engine lives only in chdb-core 26.1.0, which cannot share an environment with the engine we run.
$(VENV)-conformance/.ready: $(VENV)/.made requirements-conformance.txt
	$(call environment,$(VENV)-conformance)
	$(call locked,$(VENV)-conformance,requirements-conformance.txt)
	touch $@

# Quix Streams wants an older confluent-kafka than ours.
$(VENV)-bench/.ready: requirements-bench.txt
	$(call environment,$(VENV)-bench)
	$(VENV)-bench/bin/python $(INSTALL) -r requirements-bench.txt
	touch $@

# Prefect wants an older websockets, cachetools and python-dateutil than ours.
$(VENV)-prefect/.ready: requirements-prefect.txt requirements-build.txt pyproject.toml
	$(call environment,$(VENV)-prefect)
	$(VENV)-prefect/bin/python $(INSTALL) -r requirements-build.txt
	$(VENV)-prefect/bin/python $(INSTALL) --no-build-isolation -r requirements-prefect.txt
	$(VENV)-prefect/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# dbt and the clients' own suites want older and newer packages than ours.
$(VENV)-clients/.ready: requirements-clients.txt requirements-build.txt
	$(call environment,$(VENV)-clients)
	$(VENV)-clients/bin/python $(INSTALL) -r requirements-build.txt
	$(VENV)-clients/bin/python $(INSTALL) --no-build-isolation -r requirements-clients.txt
	touch $@

# Spark brings 400 MB of jars and pins a py4j of its own; its source package is built with what the first lock names.
$(VENV)-spark/.ready: requirements-spark.txt requirements-build.txt
	$(call environment,$(VENV)-spark)
	$(VENV)-spark/bin/python $(INSTALL) -r requirements-build.txt
	$(VENV)-spark/bin/python $(INSTALL) --no-build-isolation -r requirements-spark.txt
	touch $@
