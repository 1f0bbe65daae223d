"""All exercises, in the order of the encyclopedia article."""

from bpjax.teaching.exercises import changes, networks, units
from bpjax.teaching.exercises.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        units.NET_INPUT,
        units.OUTPUT_DELTA,
        units.HIDDEN_DELTA,
        changes.WEIGHT_CHANGE,
        changes.MOMENTUM_TERM,
        changes.BIAS_CHANGE,
        changes.BATCH_SUM,
        networks.SOFTMAX_DELTA,
        networks.WEIGHT_SHARING,
        networks.THROUGH_TIME,
    )
}
