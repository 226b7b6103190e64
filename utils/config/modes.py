"""The values of --exec_mode, and what each of them does."""

CHECK, PLAN = "check", "plan"
# They look at a task, and leave all folders alone.
LOOKING_MODES = (CHECK, PLAN)
MODES = ("train", "evaluate", "predict", "train_and_predict", "train_and_evaluate") + LOOKING_MODES
TRAINING_MODES = ("train", "train_and_predict", "train_and_evaluate")
EVALUATION_MODES = ("evaluate", "train_and_evaluate")
PREDICTION_MODES = ("predict", "train_and_predict")
BENCHMARK_MODES = ("train", "predict")


def uses_held_out(params):
    """Whether a run of a params dict scores the held-out cases, during the training or after it."""
    during = params["exec_mode"] in TRAINING_MODES and params["evaluate_every"]
    return bool(during or params["exec_mode"] in EVALUATION_MODES)
