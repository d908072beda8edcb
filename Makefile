# One command a verb; CI calls the same.
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11 python3.10 python3.13 python,$(shell command -v $(name) 2>/dev/null)))
DRAPE := .venv/bin/drape
ifeq ($(PYTHON),)
$(error Drape needs Python 3.10 to 3.13. Install one (Debian: apt install python3 python3-venv; macOS: brew install python@3.12))
endif

# Tests without services share the cores; those with services follow one by one. A part of PYTEST may have none of either.
ALONE := not services and not browser and not long and not compose
WITH_SERVICES := (services or browser) and not long and not compose
OR_NONE := || test $$? -eq 5

.PHONY: help up test test-fast test-long compose-test fuzz lint docs pages audit licences bench bench-gpu photographs flywheel prompt-network garment-base soak faults hosts clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up:  ## a working flywheel in the browser [IMAGES=folder LABELS="a,b" PALETTE=street PORT= STUDIO_PORT= REDIS_PORT= DATA_DIR=]
	@$(PYTHON) launcher/bootstrap.py $(if $(LABEL_STUDIO_URL),--no-label-studio)
	@exec $(DRAPE) up $(if $(IMAGES),--images "$(IMAGES)") $(if $(LABELS),--labels "$(LABELS)") \
	  $(if $(PALETTE),--palette $(PALETTE)) $(if $(PORT),--port $(PORT)) $(if $(STUDIO_PORT),--studio-port $(STUDIO_PORT)) \
	  $(if $(REDIS_PORT),--redis-port $(REDIS_PORT)) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

test:  ## the tests, with real services and a browser, but for the long ones
	@$(PYTHON) launcher/bootstrap.py --dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 -m "$(ALONE)" $(PYTEST) $(OR_NONE)
	.venv/bin/python -m pytest -m "$(WITH_SERVICES)" $(PYTEST) $(OR_NONE)

test-fast:  ## those of them that start no services and no browser, and take less than a second each
	@$(PYTHON) launcher/bootstrap.py --dev
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto -m "not slow and $(ALONE)" $(PYTEST)

test-long:  ## the long ones: four hosts, random faults, PostgreSQL, SAM 3 at full size, trainings that die; compose-test
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m pytest -m long $(PYTEST)
	@$(MAKE) --no-print-directory compose-test

compose-test:  ## docker-compose.yml on a Docker engine of its own, as docs/guides/deploy.md says: root, Debian's packages
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m pytest -x -v -m compose tests/compose

fuzz:  ## bad input at random, tens of thousands of requests: an hour or more [FUZZ=tests/backend/regions/test_brush_properties.py]
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/python -m pytest --hypothesis-profile=fuzz --timeout=0 $(or $(FUZZ),$(shell find tests/backend -name "test_*_properties.py"))

lint:  ## style and types
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs:  ## the site of docs/ in artefacts/site; fails on a broken link, and on what a page loads from elsewhere
	@$(PYTHON) -c 'import sys; sys.exit("make docs needs Python 3.11 or newer: make docs PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@cmp -s requirements-docs.txt .venv-docs/requirements-docs.txt || { $(PYTHON) -m venv --clear .venv-docs && \
	  .venv-docs/bin/pip install -q --disable-pip-version-check --no-deps -r requirements-docs.txt && \
	  cp requirements-docs.txt .venv-docs/; }
	@rm -rf artefacts/site .cache
	.venv-docs/bin/zensical build --strict
	@.venv-docs/bin/python -m launcher.dev.docs_site

pages:  ## the generated pages of docs/reference, from the code
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/python -m launcher.dev.settings_page
	.venv/bin/python -m launcher.dev.cli_page
	.venv/bin/python -m launcher.dev.http_page
	.venv/bin/python -m launcher.dev.metrics_page

audit:  ## known vulnerabilities of what is installed; says so where their data cannot be reached
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv --clear .venv-audit && \
	  .venv-audit/bin/pip install -q --disable-pip-version-check -r requirements-audit.txt; } || true
	@.venv/bin/python -m launcher.dev.vulnerabilities

licences:  ## docs/explanation/licences.md, from what is installed
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/python -m launcher.dev.licences_page

bench:  ## speed and quality, side by side [ONLY=part]; ONLY=quality on photographs [DATA=folder PALETTE=street OPTIONS="--first 700"]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m $(if $(DATA),benchmarks.parts.quality "$(DATA)" $(if $(PALETTE),--palette $(PALETTE)) $(OPTIONS),benchmarks $(if $(ONLY),--only $(ONLY)))

bench-gpu:  ## what an NVIDIA GPU makes of the models, in four minutes [OPTIONS=--short]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.gpu $(OPTIONS)

photographs:  ## how detectors learn from annotated photographs [DATA=folder PHOTOGRAPHS="schedule --side 256"]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.photographs $(or $(PHOTOGRAPHS),schedule) $(DATA)

flywheel:  ## trainings in turn, simulated annotators: what each is worth; goes on where it was [DATA=folder PALETTE= OPTIONS=]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.flywheel $(if $(DATA),"$(DATA)") $(if $(PALETTE),--palette $(PALETTE)) $(OPTIONS)

prompt-network:  ## trains the network for clicks; goes on where it was [DATA=folder CONFIG=labels.xml MINUTES=120 OPTIONS=]
	@test -n "$(DATA)" || { echo "Name a set of annotated photographs: make prompt-network DATA=folder"; exit 1; }
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/python -m label_studio_config.demo.write var/prompt-network/figures
	.venv/bin/python -m training.prompt_network "$(DATA)" var/prompt-network/figures \
	  --labels "$(or $(CONFIG),label_studio_config/street.xml)" $(if $(MINUTES),--minutes $(MINUTES)) $(OPTIONS)

garment-base:  ## trains the starter, of photographs and drawn figures [DATA=folder CONFIG=labels.xml OPTIONS=]
	@test -n "$(DATA)" || { echo "Name a set of annotated photographs: make garment-base DATA=folder"; exit 1; }
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/python -m label_studio_config.demo.write var/garment-base/figures --train 200
	.venv/bin/python -m training.garment_base "$(DATA)" var/garment-base/figures \
	  --labels "$(or $(CONFIG),label_studio_config/street.xml)" --labels label_studio_config/garments.xml $(OPTIONS)

soak:  ## a quarter of an hour of 30 annotators, 2,000 imports and trainings, then overload [SOAK="--minutes 2 --annotators 10"]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.soak $(SOAK)

faults:  ## random faults in the whole stack, and what must hold after each [ROUNDS=200 SEED=1 FIRST=0]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.faults $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(FIRST),--first $(FIRST))

hosts:  ## four hosts of network namespaces, as root: an import, hosts cut off, a new model [IMAGES=500 CUT_S=30]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks.hosts $(if $(IMAGES),--images $(IMAGES)) $(if $(CUT_S),--cut-s $(CUT_S))

clean:  ## removes the environments and what tests left; `var` with your data stays
	rm -rf .venv .venv-label-studio .venv-audit .venv-docs artefacts .cache .pytest_cache .mypy_cache .ruff_cache
