"""The values of --exec_mode, and what each of them does."""

CHECK = "check"
MODES = ("train", "evaluate", "predict", "train_and_predict", "train_and_evaluate", CHECK)
TRAINING_MODES = ("train", "train_and_predict", "train_and_evaluate")
EVALUATION_MODES = ("evaluate", "train_and_evaluate")
PREDICTION_MODES = ("predict", "train_and_predict")
BENCHMARK_MODES = ("train", "predict")
