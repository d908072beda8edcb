# One command a verb; CI calls the same.
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11 python3.10 python3.13 python,$(shell command -v $(name) 2>/dev/null)))
DRAPE := .venv/bin/drape
ifeq ($(PYTHON),)
$(error Drape needs Python 3.10 to 3.13. Install one (Debian: apt install python3 python3-venv; macOS: brew install python@3.12))
endif

.PHONY: help up test lint bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up:  ## a working flywheel in the browser [IMAGES=folder LABELS="a,b" PORT= STUDIO_PORT= REDIS_PORT= DATA_DIR=]
	@$(PYTHON) launcher/bootstrap.py $(if $(LABEL_STUDIO_URL),--no-label-studio)
	@exec $(DRAPE) up $(if $(IMAGES),--images "$(IMAGES)") $(if $(LABELS),--labels "$(LABELS)") \
	  $(if $(PORT),--port $(PORT)) $(if $(STUDIO_PORT),--studio-port $(STUDIO_PORT)) \
	  $(if $(REDIS_PORT),--redis-port $(REDIS_PORT)) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")

test:  ## all tests
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m pytest $(PYTEST)

lint:  ## style and types
	@$(PYTHON) launcher/bootstrap.py --dev --no-label-studio
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench:  ## speed and quality, side by side [ONLY=part]
	@$(PYTHON) launcher/bootstrap.py --dev
	.venv/bin/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:  ## removes the environments and what tests left; `var` with your data stays
	rm -rf .venv .venv-label-studio artefacts .pytest_cache .mypy_cache .ruff_cache
