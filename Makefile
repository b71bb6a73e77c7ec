# The distribution's own tools and Python, not those that a version manager put before them.
export PATH := /usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL := C.UTF-8
# Compiled Python is kept whatever the caller's settings are: each test that starts the command would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# One after another, but for the linters, which 'lint' has a make of its own for.
ifndef LINTERS_SIDE_BY_SIDE
.NOTPARALLEL:
endif
.PHONY: help demo test check lint lint-mypy lint-ruff lint-shell lint-tests resilience matrix bench deb rpm dist clean-builds pythons clean setup-check setup-build setup-lab setup-clean

PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -p no:cacheprovider -v --color=auto
# These tests mostly wait for what they started, so more of them than cores run side by side.
# Those that wait stand together in one file, so who has nothing left to do takes some of them over.
SIDE_BY_SIDE := --numprocesses=8 --dist=worksteal
BOOTS_SIDE_BY_SIDE := --numprocesses=3
# Two pairs of virtual machines: while one waits for a limit, a heartbeat or a resync, the other has the cores. A class
# of tests is one story on one pair.
LABS_SIDE_BY_SIDE := --numprocesses=2 --dist=loadscope
SETUP := packaging/setup-machine

# The directories of tests in the order in which they run: the quick ones first.
QUICK := $(wildcard tests/unit tests/generator)
SHELL_SCRIPTS := $(SETUP) packaging/other-units packaging/renew-follow packaging/what-stays packaging/source-tree packaging/version packaging/build-dist packaging/build-deb packaging/build-rpm packaging/chroot packaging/clean-build .ci/run \
	packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm $(addprefix packaging/debian/tests/,command generator) \
	$(wildcard tests/*.sh tests/*/*.sh tests/*/*/*.sh)
# Python without a suffix, which mypy does not find by itself.
SCRIPTS := $(filter-out %~ %__pycache__,$(wildcard bin/* generators/* libexec/*))

# Releases of Debian: for the packages in virtual machines, and in clean chroots.
RELEASES ?= 12 13 sid
# Those whose Python `make pythons` takes: 3.9, 3.11, 3.13 and 3.14. No release of Debian has 3.10 or 3.12.
PYTHONS ?= 11 12 13 sid

# How often `make bench` boots each way.
BOOTS ?= 10

# How often `make resilience` goes through the lab.
REPEAT ?= 3

help:
	@echo 'make demo        two virtual machines, the package installed, both rebooted, the file system on both'
	@echo 'make test        check, packages, a systemd of its own, the short tests of the virtual machines'
	@echo 'make check       linters, unit and generator tests but the exhaustive and slow ones (under a minute)'
	@echo 'make resilience  all tests of the virtual machines and all faults of the matrix, REPEAT=$(REPEAT) times'
	@echo 'make matrix      the packages on Debian 12, 13 and sid: install, reboot, upgrade, stop, remove; the RPM likewise'
	@echo 'make bench       what command, generator, wait and BOOTS=$(BOOTS) boots cost, beside other ways, into docs/benchmarks.md'
	@echo 'make deb, rpm    the package, in dist/'
	@echo 'make dist        the sources as one file, in dist/'
	@echo 'make clean-builds  the DEB built and tried in clean chroots of Debian 12, 13 and sid, as root; RELEASES="12 13 sid"'
	@echo 'make pythons     unit and generator tests by the Pythons of Debian 11, 12, 13 and sid, in chroots, as root; PYTHONS="11 12 13 sid"'
	@echo 'make clean       remove what was built'
	@echo 'On a machine with apt, each brings what it needs when run as root.'

setup-check:
	@$(SETUP) check

setup-build:
	@$(SETUP) build

setup-lab:
	@$(SETUP) build lab

setup-clean:
	@$(SETUP) clean

# mypy takes one core for as long as all the others together take the second. What each says stays in one piece, and
# all of them say it.
lint: setup-check
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target LINTERS_SIDE_BY_SIDE=1 \
		lint-mypy lint-ruff lint-shell lint-tests

lint-mypy:
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --scripts-are-modules $(SCRIPTS)

lint-ruff:
	$(PYTHON) -m ruff check

lint-shell:
	shellcheck $(SHELL_SCRIPTS)

# Can they be read? It also compiles them once, which else every process of 'check' does for itself.
lint-tests:
	@said=$$($(PYTHON) -m pytest -p no:cacheprovider --collect-only -qq --color=auto $(QUICK)) || \
		{ printf '%s\n' "$$said"; exit 1; }

# Quietly: a line for each of thousands of tests costs seconds. What goes through every step, many rounds or seconds is left to
# 'test': this has to end within a minute, on a busy machine and with nothing compiled yet.
check: lint
	tests/memory.sh $(PYTEST) --quiet $(SIDE_BY_SIDE) -m 'not exhaustive and not slow' $(QUICK)

deb: setup-build
	packaging/build-deb

clean-builds: setup-clean
	packaging/clean-build $(RELEASES)

pythons: setup-clean
	tests/pythons.sh $(PYTHONS)

rpm: setup-build
	packaging/build-rpm

# The sources as one file; packaging/README.md has how a release is made of it.
dist:
	packaging/build-dist

test: lint deb rpm setup-lab
	tests/memory.sh $(PYTEST) $(SIDE_BY_SIDE) $(QUICK)
	$(PYTEST) tests/package
	$(PYTEST) $(BOOTS_SIDE_BY_SIDE) --durations=10 tests/pid1
	$(PYTEST) $(LABS_SIDE_BY_SIDE) --durations=15 -m 'not long' tests/lab

demo: deb setup-lab
	$(PYTHON) -m tests.lab.demo --deb dist/drbdocfs-boot_*_all.deb

# A round that was good is not run again, nor is a row of the matrix that was so often enough: what was interrupted goes
# on where it was. `make clean` forgets both.
resilience: deb setup-lab
	@mkdir -p dist/rounds
	@set -e; for round in $$(seq $(REPEAT)); do \
		if test -e dist/rounds/$$round; then echo "round $$round of $(REPEAT) was good already"; continue; fi; \
		echo "round $$round of $(REPEAT)"; began=$$(date +%s); \
		$(PYTEST) $(LABS_SIDE_BY_SIDE) --durations=15 tests/lab; \
		took=$$((($$(date +%s) - began) / 60)); left=$$(($(REPEAT) - round)); \
		echo "$$took min" >dist/rounds/$$round; \
		echo "round $$round took $$took min, so $$left more take about $$((took * left)) min; then the matrix"; \
	done
	$(PYTHON) -m tests.lab.matrix --times $(REPEAT)

# The packages on each release of Debian; the RPM is installed by rpm itself, on Debian too.
matrix: deb rpm setup-lab
	@bad=; for release in $(RELEASES); do \
		echo "Debian $$release"; \
		$(PYTEST) $(LABS_SIDE_BY_SIDE) --durations=5 --release $$release tests/lab/test_packages.py || bad="$$bad $$release"; \
	done; \
	if test -n "$$bad"; then echo "not as expected on:$$bad"; exit 1; fi

# BOOTS of each of five ways in turn, some minutes each: BOOTS=0 leaves the virtual machines out.
bench: deb setup-lab
	$(PYTHON) -m tests.bench.bench --write
	test $(BOOTS) -eq 0 || $(PYTHON) -m tests.bench.event --write
	test $(BOOTS) -eq 0 || $(PYTHON) -m tests.bench.boots --times $(BOOTS) --write
	test $(BOOTS) -eq 0 || $(PYTHON) -m tests.bench.stacks --write

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
