# The few commands a person types. Each makes the virtual environment it needs the first time; setup/ says how.
# `make help` lists them.

# The interpreter, and so the runtime: python3.7 or a path (default: the newest of Python 3.9 to 3.11).
export PYTHON ?=
# The task to train on, an MSD folder with a dataset.json (default: the phantom task, which is made first).
export DATA_DIR ?=
# Where checkpoints, log, masks, scores and pictures go (default: results/demo, or results/demo-tf1).
export MODEL_DIR ?=
export EPOCHS ?= 34
export BATCH_SIZE ?= 2
# More arguments for pytest, for example PYTEST_ARGS="-k geometry -x".
PYTEST_ARGS ?=
# More arguments for benchmarks/bench.py, for example BENCH_ARGS="--only '*:train:2'".
BENCH_ARGS ?=
# As they were typed: a folder's name is nothing for make to expand.
$(foreach name,PYTHON DATA_DIR MODEL_DIR EPOCHS BATCH_SIZE,$(eval override $(name) := $$(value $(name))))

.PHONY: help setup demo bench test endurance lint clean

help:
	@echo 'make demo       train, evaluate and predict: the phantom task, or DATA_DIR=<MSD task> MODEL_DIR=<folder> EPOCHS=<n> BATCH_SIZE=<n>'
	@echo 'make bench      speed beside that of the original, of PyTorch and of the machine; BENCH_ARGS="..." goes to bench.py'
	@echo 'make test       the test suite; PYTEST_ARGS="..." goes to pytest'
	@echo 'make endurance  the long tests: many kills, many damaged inputs, many and large cases; PYTEST_ARGS as above'
	@echo 'make lint       ruff: lint and format, without changing a file'
	@echo 'make setup      only make the environment that the others need, Horovod included'
	@echo 'make clean      delete the environments and all caches; data and results stay'
	@echo
	@echo 'PYTHON=<name or path> picks the interpreter, and so the runtime:'
	@echo '  Python 3.9 to 3.11   tf2, TensorFlow 2.15, in .venv (the default: the newest of them on this machine)'
	@echo '  Python 3.6 or 3.7    tf1, TensorFlow 1.15, in .venv-tf1'

setup:
	@setup/run_in.sh horovod sh -c 'echo "$$VIRTUAL_ENV is ready ($$(python --version), runtime $$RUNTIME)"'

demo:
	@setup/run_in.sh tensorflow setup/demo.sh

bench:
	@setup/install_torch.sh
	@setup/run_in.sh horovod sh -c 'exec python benchmarks/bench.py --output "results/speed-$$RUNTIME" "$$@"' bench $(BENCH_ARGS)

test:
	@setup/run_in.sh horovod python -m pytest $(PYTEST_ARGS)

endurance:
	@setup/run_in.sh horovod python -m pytest -m endurance $(PYTEST_ARGS)

lint:
	@setup/run_in.sh tensorflow sh -c 'command -v ruff >/dev/null || { echo "make: ruff needs Python 3.7 or later" >&2; exit 2; }; \
	    ruff check . && ruff format --check .'

clean:
	rm -rf .venv .venv-tf1 .venv-torch .cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
