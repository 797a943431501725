# Thin on purpose: every target is one command of devcluster/, demo/, bench/ or pytest.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vernacular
export CACHE_DIR
export UV_CACHE_DIR ?= $(CACHE_DIR)/uv
# dev: the cluster that this repository starts; current: the one that KUBECONFIG points to (images go to REGISTRY)
CLUSTER ?= dev
NODES ?= 2
FAKE_GPUS ?= 0
MINUTES ?= 30

PYTHON := .venv/bin/python
READY := .venv/.ready
GENERATORS := vernacular.api.crd vernacular_operator.kube.rights docs.reference.generate

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml uv.lock
	@"$$(python3 -m devcluster tools uv)" sync --quiet --frozen && touch $@

demo: $(READY) ## real cluster, images, chart, the HR-bot job, base against tuned answer
	@$(PYTHON) -m demo up --cluster $(CLUSTER) --nodes $(NODES) --registry "$(REGISTRY)"

demo-down: $(READY) ## remove everything that the demo started
	@$(PYTHON) -m demo down --cluster $(CLUSTER)

env: $(READY) ## eval "$(make -s env)": a shell that knows the demo's cluster and MLflow
	@$(PYTHON) -m demo env --cluster $(CLUSTER)

test: ## set up and run every test
	@python3 -m tests.run

test-long: ## full kill counts, several seeds, soak
	@python3 -m tests.run --long

test-matrix: $(READY) ## the integration suite against every pinned version of Kubernetes
	@$(PYTHON) -m tests.matrix

lint: $(READY) ## ruff, mypy, import rules, generated files
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-cache
	@for module in $(GENERATORS); do $(PYTHON) -m $$module --check || exit 1; done

generate: $(READY) ## write what follows from code: the CRD, the operator's rights, reference pages
	@for module in $(GENERATORS); do $(PYTHON) -m $$module || exit 1; done

docs: $(READY) ## the documentation site, in build/site; a broken link is an error
	@$(PYTHON) -m docs.site

bundle: $(READY) ## every image that the chart may start, to be mirrored into a closed network
	@$(PYTHON) -m release bundle

images: ## build the images, push them, pull them on the nodes
	@python3 -m devcluster images

cluster-up: ## start the dev cluster (NODES=1, FAKE_GPUS=4)
	@python3 -m devcluster up --nodes $(NODES) --fake-gpus $(FAKE_GPUS)

cluster-down: ## stop it, without leftovers
	@python3 -m devcluster down

cluster-status: ## what runs and where
	@python3 -m devcluster status

soak: $(READY) ## jobs come and go under mild faults, memory must not grow (MINUTES=30)
	@SOAK_SECONDS=$$(($(MINUTES) * 60)) $(PYTHON) -m pytest tests/chaos/test_soak.py -s

bench-demo: $(READY) ## time per stage of the HR-bot job, sizes, against the targets
	@$(PYTHON) -m bench.demo

bench-demo-fresh: $(READY) ## a whole demo from a fresh clone with empty caches
	@$(PYTHON) -m bench.demo --fresh

bench-operator: $(READY) ## how the operator scales, against the budgets (ROWS="1000 growth": only these; PEER=trainer)
	@PYTHONPATH=tests $(PYTHON) -m bench.operator $(if $(ROWS),--rows $(ROWS)) $(if $(PEER),--peer $(PEER)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(SHIPPED_LIMITS),--shipped-limits) $(if $(WITH_PODS),--with-pods)

bench-data: $(READY) ## how fast 1,000,000 rows are checked, and in how much memory (ROWS="10000": fewer, not recorded)
	@$(PYTHON) -m bench.data $(if $(ROWS),--rows $(ROWS))

bench-evaluation: $(READY) ## how long base and tuned model take to answer 200 questions
	@$(PYTHON) -m bench.evaluation

bench-trainer: $(READY) ## the train stage beside TRL, LLaMA-Factory and transformers' Trainer (ROUNDS=2)
	@PYTHONPATH=tests $(PYTHON) -m bench.trainer $(if $(ROUNDS),--rounds $(ROUNDS))

bench-tracking: $(READY) ## what tracking takes from a training, and 200 trainings from one MLflow server
	@PYTHONPATH=tests $(PYTHON) -m bench.tracking

.PHONY: help demo demo-down env test test-long soak test-matrix lint generate docs bundle images cluster-up cluster-down cluster-status bench-demo bench-demo-fresh bench-operator bench-data bench-evaluation bench-trainer bench-tracking
