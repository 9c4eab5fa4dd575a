# make demo    a tour: broker, Qlik stand-in and daemon on this machine, about half a minute
# make test    the tests, against a real mosquitto; ARGS="tests/unit -x" for a part, ARGS="-m long" for the long
# make check   ruff, mypy, and the table of imports
# make bench   how fast it is, beside a bare client, some minutes; ARGS="--quick" for a first figure
# make chaos   kills under load until the books add up; ARGS="--kills 1000 --seed 1"
# make deb     the Debian package for this machine's release, in dist/
# make clean   remove what the others made: .venv, caches, build/ and dist/ with its wheel and packages
#
# Nothing has to be done before. Python 3.11 or newer is found by itself; PYTHON=… chooses another.

VENV := .venv
RUN := $(VENV)/bin/python -m

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# Debian keeps mosquitto where only root has it on the PATH.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin

# Where it is set, as in many containers, each of the hundreds of programs that the tests start would be
# compiled anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check bench chaos deb clean tools
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	@$(RUN) butler_mqtt demo $(ARGS)

# Tests wait more than they compute: two processes a CPU. Those of a file share brokers and daemons.
WORKERS := $(shell echo $$(($$(nproc) * 2)))

test: $(VENV)/.dev tools
	@$(RUN) pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not long and not counterparts' $(ARGS)

check: $(VENV)/.dev
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(VENV)/bin/lint-imports --no-cache

bench: $(VENV)/.dev tools
	@$(RUN) benchmarks.speed $(ARGS)

chaos: $(VENV)/.dev tools
	@$(RUN) benchmarks.chaos $(ARGS)

deb: $(VENV)/.dev
	@rm -rf build dist/*.deb dist/*.whl
	@$(RUN) pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@PIP='$(abspath $(VENV))/bin/python -m pip' deploy/debian/build dist/*.whl dist

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of packages; it is renewed when pyproject.toml changes.
$(VENV)/.%: pyproject.toml
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(PYTHON) -c 'import sys; \
		print("Python lacks venv: apt-get install python%d.%d-venv" % sys.version_info[:2])' >&2; exit 1; }
	@$(RUN) pip --version >/dev/null 2>&1 || { echo 'Making $(VENV) with $(PYTHON) …'; \
		$(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing the packages of "$*" into $(VENV), a minute or two the first time …'
	@$(RUN) pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# What the tests run besides Python: program:package of Debian.
TOOLS := mosquitto:mosquitto mosquitto_pub:mosquitto-clients promtool:prometheus chromium:chromium \
	systemd-analyze:systemd curl:curl openssl:openssl ip:iproute2 groff:groff-base

tools:
	@missing=$$(for tool in $(TOOLS); do command -v $${tool%%:*} >/dev/null || echo $${tool#*:}; done); \
	[ -z "$$missing" ] || { missing=$$(echo $$missing); \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "Installing what the tests use: $$missing …"; \
			export DEBIAN_FRONTEND=noninteractive; \
			install="apt-get install -y -qq --no-install-recommends $$missing"; \
			$$install >/dev/null 2>&1 || { apt-get update -qq && $$install >/dev/null; }; \
		else \
			echo "The tests need more programs: sudo apt-get install $$missing" >&2; exit 1; \
		fi; }
