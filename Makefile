# make serve: from nothing to predictions of a model trained on real flights.
# make test:  the test suite.
# make loadtest: requests at rising rates to a server that runs, with a report in work/loadtest.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
WORK := work

.PHONY: serve test test-all lint rules loadtest clean

serve: $(WORK)/bundle/bundle.json
	$(BIN)/python -m server.run --bundle $(WORK)/bundle --port $(PORT)

test: .venv/.installed-dev
	$(BIN)/python -m pytest -m "not slow"

test-all: .venv/.installed-dev
	$(BIN)/python -m pytest --hypothesis-profile explore

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Kubernetes' Prometheus operator reads the rules in an object of its own
rules: k8s/base/prometheusrule.yaml
k8s/base/prometheusrule.yaml: monitoring/rules.yaml
	( printf '%s\n' '# Written by make rules.' 'apiVersion: monitoring.coreos.com/v1' 'kind: PrometheusRule' \
		'metadata:' '  name: eventmodel' 'spec:'; sed -e '/^#/d' -e 's/^./  &/' $< ) > $@

# LOAD="--users 32 --run-time 60s" is a closed loop, --help lists all
URL ?= http://localhost:$(PORT)
LOAD ?= --rates 5,10,20,40,80 --step-s 30
loadtest: .venv/.installed-dev
	$(BIN)/python -m locust --headless --only-summary --locustfile benchmarks/loadtest/locustfile.py --host $(URL) \
		--out $(WORK)/loadtest $(LOAD)

clean:
	rm -rf .venv $(WORK)

# Each step below is skipped when its product is there. torch comes first, so that nothing else
# decides which build of it is installed.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train,export,serve,demo,cpu]"
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(WORK)/flights.parquet: | .venv/.installed
	$(BIN)/python -m training.flights --out $@

$(WORK)/log/log.json: $(WORK)/flights.parquet
	$(BIN)/python -m training.prepare --schema flights --input $< --out $(WORK)/log

# an interrupted training goes on where it stopped
$(WORK)/run/trained: $(WORK)/log/log.json
	$(BIN)/python -m training.run --data $(WORK)/log --out $(WORK)/run --preset quickstart \
		$(if $(wildcard $(WORK)/run/last),--resume)
	touch $@

$(WORK)/bundle/bundle.json: $(WORK)/run/trained
	$(BIN)/python -m export.run --checkpoint $(WORK)/run/best --out $(WORK)/bundle --formats onnx
