"""Training: steps, epochs, reasons to stop, restarts, trials, evaluation."""

from bpjax.training.conditions import TimeLimit, stop_when, time_limit
from bpjax.training.data_parallel import DataParallel, data_parallel
from bpjax.training.epoch import Epoch
from bpjax.training.evaluate import accuracy, predict
from bpjax.training.fit import Fit, fit
from bpjax.training.restarts import restart_unsolved
from bpjax.training.run import History, Run, Training, make_training, run_to_end
from bpjax.training.step import TrainState, make_train_step
from bpjax.training.stops import Stop, diverged, error_below, gradient_below, no_improvement, outputs_within
from bpjax.training.trial import Program, Trial, trial

__all__ = [
    "DataParallel",
    "Epoch",
    "Fit",
    "History",
    "Program",
    "Run",
    "Stop",
    "TimeLimit",
    "TrainState",
    "Training",
    "Trial",
    "accuracy",
    "data_parallel",
    "diverged",
    "error_below",
    "fit",
    "gradient_below",
    "make_train_step",
    "make_training",
    "no_improvement",
    "outputs_within",
    "predict",
    "restart_unsolved",
    "run_to_end",
    "stop_when",
    "time_limit",
    "trial",
]
