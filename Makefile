# All commands need Python 3.11 or newer with its venv module or pip, and nothing else: if uv is missing, it is installed
# into .cache/uv, because on many systems pip may only install into an environment.
.DEFAULT_GOAL := help

ifeq ($(shell uv --version 2>/dev/null && uvx --version 2>/dev/null),)
MISSING_UV := .cache/uv/bin/uv
export PATH := $(CURDIR)/.cache/uv/bin:$(PATH)
endif
# With its path, because make 3.81 of macOS does not search the exported PATH.
UV := $(or $(MISSING_UV),uv)
RUN := $(UV) run
# Without the name of an index, so that each installer uses its own.
LOCK := $(UV) pip compile --quiet --upgrade --universal --python-version 3.13 --generate-hashes \
  --no-annotate --no-emit-index-url
# Trust the system's certificates, like git and pip: a company's proxy may have its own.
export UV_SYSTEM_CERTS ?= true
# Without bytecode, each process of pytest compiles all modules and tests itself.
unexport PYTHONDONTWRITEBYTECODE

CHECKS := check-format check-lint check-types check-imports check-spelling check-dependencies check-workflows check-schemas
.PHONY: help demo sandbox plugin test coverage check $(CHECKS) check-imports format bench docs lock build environment

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(MISSING_UV) ## Sync made-up data with Meltano into files, without a Wootric account
	$(RUN) python -m tools sandbox -- uvx 'meltano~=4.4' run tap-wootric target-jsonl

sandbox: environment ## Serve a made-up account until interrupted, and print the tap's settings for it; ARGS=--help
	@$(RUN) python -m tools sandbox $(ARGS)

plugin: environment ## Write plugin files that install this clone, and print the commands that add them to a project
	@$(RUN) python -m tools plugin

test: environment ## Run the tests; pytest's arguments go into ARGS: make test ARGS='-k ties'
	$(RUN) pytest $(ARGS)

coverage: environment ## Run the tests, and fail if they cover less than the floor; ARGS=tests/unit takes seconds
	$(RUN) coverage erase
	$(RUN) coverage run -m pytest $(ARGS)
	$(RUN) coverage combine --quiet
	$(RUN) coverage report

check: $(CHECKS) ## Run all checks except tests: format, lint, types, imports, spelling, dependencies, workflows, schemas

format: environment ## Format the code, and apply the linter's fixes
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

bench: environment ## Compare the speed with singer-io's tap in fifteen minutes; with ARGS=--quick in two
	$(RUN) python -m tools benchmark $(ARGS)

docs: environment ## Write the generated parts of the documentation, meltano.yml and the plugin files
	$(RUN) python -m tools docs

lock: $(MISSING_UV) ## Renew the locked, hashed requirements of the workflows
	cd .github/requirements && $(LOCK) build.in --output-file build.txt
	cd .github/requirements && $(LOCK) extract.in ../../pyproject.toml --output-file extract.txt

build: $(MISSING_UV) ## Build the wheel and the sdist into dist/
	$(UV) build

check-format: environment
	$(RUN) ruff format --check .

check-lint: environment
	$(RUN) ruff check .

check-types: environment
	$(RUN) mypy

check-imports: environment
	$(RUN) lint-imports

check-spelling: environment
	$(RUN) codespell

check-dependencies: environment
	$(RUN) deptry .

check-workflows: environment
	$(RUN) zizmor --offline --quiet .github

check-schemas: environment
	$(RUN) check-jsonschema --builtin-schema vendor.meltano meltano.yml
	$(RUN) check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN) check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(RUN) check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(RUN) check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml

# The tests start Python hundreds of times.
test coverage: COMPILE := --compile-bytecode
environment: $(MISSING_UV)
	@$(UV) sync --quiet $(COMPILE)

.cache/uv/bin/uv:
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    "$$python" -m venv .cache/uv || exit 1; set -- .cache/uv/bin/python -m pip install; \
	  elif "$$python" -c 'import pip' 2>/dev/null; then \
	    set -- "$$python" -m pip install --target .cache/uv; \
	  else \
	    echo "$$python has neither venv nor pip: install one of them (Debian, Ubuntu: apt-get install python3-venv)" >&2; \
	    exit 1; \
	  fi; \
	  exec "$$@" --quiet --disable-pip-version-check --root-user-action=ignore 'uv~=0.13.9'; \
	done; \
	echo 'Python 3.11 or newer is missing: install it, or install uv (https://docs.astral.sh/uv)' >&2; \
	exit 1
