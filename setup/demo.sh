#!/usr/bin/env bash
# The main job: train and evaluate, then predict the test images. Run it as `make demo`.
# DATA_DIR is an MSD task (default: the phantom task, made first); MODEL_DIR, EPOCHS and BATCH_SIZE are main.py's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model_dir=${MODEL_DIR:-}
if [[ -z $model_dir ]]; then
    model_dir=results/demo
    [[ $RUNTIME == tf2 ]] || model_dir=results/demo-$RUNTIME
fi
data_dir=${DATA_DIR:-}
if [[ -z $data_dir ]]; then
    data_dir=data/Task00_Phantom
    [[ -f $data_dir/dataset.json ]] || python download_dataset.py --data_dir data --dataset phantom
fi

common=(--data_dir "$data_dir" --model_dir "$model_dir" --batch_size "$BATCH_SIZE" --pictures)
python main.py --exec_mode train_and_evaluate "${common[@]}" --train_epochs "$EPOCHS" --augment
python main.py --exec_mode predict "${common[@]}"
