# The front door. `make bench` and `make test` need Python 3.11 to 3.13, a C++ compiler, cmake and make, and nothing else.
#
# Every rank of a launcher may enter here at the same moment (`.venv/bin/horovodrun -np 2 make bench-tf`), so make itself
# says nothing: what is printed comes from the program, and there rank 0 alone talks.

unexport MAKEFLAGS MFLAGS
.SILENT:
.DEFAULT_GOAL := help
.PHONY: setup wheelhouse test-setup bench bench-tf bench-torch test lint report notebooks clean help

# Only what stands on make's own command line: a PYTHON that lies about in the shell is somebody else's.
ifeq ($(origin PYTHON),command line)
chosen := --chosen
else
override PYTHON := python3
endif
BIN := .venv/bin

# Settings of a run, as they stand on make's own command line. What is not set is not passed on, and has the suite's own
# default. One that lies about in the shell is somebody else's: it is left alone, and named.
# make exports variables that it was given, so values reach the program through the shell's own variables: a path may
# hold blanks and quotes.
variables := WORKLOAD DATA EPOCHS STEPS LOCAL_BATCH GLOBAL_BATCH IMAGE_SIZE SEED RESULTS ARGS
given = $(if $(filter command line,$(origin $(1))),$(2))
export SUITE_PASSED_OVER := $(strip $(foreach name,$(variables),$(if $(filter environment,$(origin $(name))),$(name))))
results := $(call given,RESULTS,--results "$$RESULTS")
arguments := $(call given,ARGS,$(ARGS))
one_run := --workload "$(call given,WORKLOAD,$$WORKLOAD)$(if $(filter command line,$(origin WORKLOAD)),,resnet50)" \
	$(call given,DATA,--data "$$DATA") \
	$(call given,EPOCHS,--epochs "$$EPOCHS") \
	$(call given,STEPS,--steps "$$STEPS") \
	$(call given,LOCAL_BATCH,--local-batch "$$LOCAL_BATCH") \
	$(call given,GLOBAL_BATCH,--global-batch "$$GLOBAL_BATCH") \
	$(call given,IMAGE_SIZE,--image-size "$$IMAGE_SIZE") \
	$(call given,SEED,--seed "$$SEED") \
	$(results) $(arguments)
# The main job trains two workloads, and is narrowed to one only when told to.
all_runs := $(call given,WORKLOAD,--set "workload=$$WORKLOAD") \
	$(call given,DATA,--set "data=$$DATA") \
	$(call given,EPOCHS,--set "epochs=$$EPOCHS") \
	$(call given,STEPS,--set "steps=$$STEPS") \
	$(call given,LOCAL_BATCH,--set "local_batch=$$LOCAL_BATCH") \
	$(call given,GLOBAL_BATCH,--set "global_batch=$$GLOBAL_BATCH") \
	$(call given,IMAGE_SIZE,--set "data.image_size=$$IMAGE_SIZE") \
	$(call given,SEED,--set "seed=$$SEED") \
	$(results) $(arguments)

setup: ## make .venv, Horovod included; a moment when it is there
	$(PYTHON) -IS horovod_runner/environment/install.py $(chosen)

wheelhouse: ## fill WHEELHOUSE (default: wheelhouse) with every wheel, for machines without a network
	$(PYTHON) -IS horovod_runner/environment/install.py $(chosen) --wheelhouse

test-setup: ## try set-up as everybody gets it: a fresh clone, an empty home, the public registry; minutes
	$(PYTHON) -IS horovod_runner/environment/try_setup.py $(if $(chosen),"$$PYTHON")

bench: setup ## the main job: both workloads, both frameworks, one and two workers; ends in a report
	$(BIN)/horovod-runner run benchmarks/experiments/bench.yaml $(all_runs)

bench-tf: setup ## one run in TensorFlow, or one rank of it: horovodrun -np 2 make bench-tf
	$(BIN)/horovod-runner bench --framework tensorflow $(one_run)

bench-torch: setup ## one run in PyTorch, or one rank of it: horovodrun -np 2 make bench-torch
	$(BIN)/horovod-runner bench --framework torch $(one_run)

report: setup ## tables, plots and the page of the results in RESULTS
	$(BIN)/horovod-runner report $(call given,RESULTS,"$$RESULTS") $(arguments)

notebooks: ## JupyterLab, installed when first asked for, on the results in RESULTS; HTML=1 writes pages
	$(PYTHON) -IS horovod_runner/environment/install.py $(chosen) --notebooks
	$(BIN)/python -m horovod_runner.verbs.notebooks $(results) $(if $(filter-out 0,$(call given,HTML,$(HTML))),--html) $(arguments)

# The tests call make themselves, and expect what a person sees who does: no "Entering directory".
# In two phases: first, two at a time, what is content with a core; then, one by one, what starts ranks (tests/phases.py).
# The second is run whatever the first has found, and make fails if either did.
pytest := env -u MAKELEVEL $(BIN)/python -m pytest
test: lint ## everything that has to hold before a change goes in
	failed=0; \
	$(pytest) --ranks none --numprocesses 2 --dist worksteal $(arguments) || failed=1; \
	$(pytest) --ranks only $(arguments) || failed=1; \
	exit $$failed

lint: setup ## style, types, and who may import whom
	$(BIN)/ruff check --quiet --config horovod_runner/environment/ruff.toml .
	$(BIN)/ruff format --check --quiet --config horovod_runner/environment/ruff.toml .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean: ## remove .venv and caches; results, and the built wheel of Horovod, stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find horovod_runner benchmarks tests -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	echo
	echo "Variables of bench, bench-tf, bench-torch: WORKLOAD DATA EPOCHS STEPS LOCAL_BATCH GLOBAL_BATCH IMAGE_SIZE SEED RESULTS"
	echo "and ARGS, passed on as it is. WORKLOAD is resnet50, vgg16 or unet. Example: make bench-torch WORKLOAD=unet EPOCHS=3"
