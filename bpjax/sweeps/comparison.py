"""Fair comparisons of optimizers, learning rules, or anything else: the same starts, the same batches, the same tuning.

The learning rate of each choice is selected on some seeds (tuning) and judged on others (test), so that the selection
does not flatter the result. Every choice gets the same number of rates and the same tuning seeds. All choices use the
same key: run `seed=7` of each starts from the same weights and sees the same batches, so that the test is a paired one.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from bpjax.results.comparison import Comparison
from bpjax.rules.rule import Rule
from bpjax.sweeps.tuning import compare
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.call_text import shown


def compare_optimizers(
    trial: Callable[..., Trial],
    optimizers: Mapping[str, Callable],
    rates: Iterable[float],
    seeds: int | Iterable[int],
    *,
    key: Key,
    **options,
) -> Comparison:
    """Compare optimizers, each at its best learning rate, on the same starts and batches.

        def xor(key, optimizer):
            params, _ = network.init(key, (2,))
            return bp.trial(rule, optimizer, params, batch, key=key, epochs=500, stops=bp.outputs_within(0.4))

        optimizers = {"SGD": optax.sgd, "momentum": lambda rate: bp.momentum(rate, 0.9), "Adam": optax.adam}
        comparison = bp.compare_optimizers(xor, optimizers, np.geomspace(0.01, 10, 7), 200, key=key)
        print(comparison)
        comparison.figure().savefig("comparison.png")

    Args:
        trial: (key, optimizer) -> Trial: the trial of `bp.sweep` with the optimizer in place of its hyperparameters; or
            make_trial: optimizer -> trial, where trial is (key) -> Trial. It needs a stop that means success.
        optimizers: {name: factory}; a factory takes the learning rate, which is traced, and returns an optax
            transformation: `optax.adam`, `bp.rprop`, or a function of one line.
        rates: the learning rates that each optimizer is tuned over.
        seeds: as for `bp.sweeps.compare_choices`.
        key: root of all random numbers.
        **options: as for `bp.sweeps.compare_choices`.

    Returns:
        See `bp.sweeps.compare_choices`; the dimension of the datasets is "optimizer".

    Raises:
        ValueError: as `bp.sweeps.compare_choices`; or something that is not a factory of optimizers.
        ModuleNotFoundError: xarray, SciPy or zarr is missing; the message names the extra to install.
    """
    who = "compare_optimizers"
    check_choices(who, "optimizers", "factory", optimizers, callable, "a function of the rate such as `optax.adam`")
    trial = with_key(who, trial, "(key, optimizer)", "(optimizer)")

    def make_trial(name: str):
        def with_optimizer(key, learning_rate):
            optimizer = optimizers[name](learning_rate)
            if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
                raise ValueError(
                    f"`{who}` expected the factory {name!r} to return an optax transformation, got {shown(optimizer)}."
                )
            return trial(key, optimizer)

        return with_optimizer

    return compare(who, "optimizer", {name: name for name in optimizers}, make_trial, rates, seeds, key, **options)


def compare_rules(
    trial: Callable[..., Trial],
    rules: Mapping[str, Rule],
    rates: Iterable[float],
    seeds: int | Iterable[int],
    *,
    key: Key,
    **options,
) -> Comparison:
    """Compare learning rules, each at its best learning rate, on the same starts and batches.

        def xor(key, rule, learning_rate):
            params, _ = network.init(key, (2,))
            optimizer = bp.momentum(learning_rate, 0.9)
            return bp.trial(rule, optimizer, params, batch, key=key, epochs=500, stops=bp.outputs_within(0.4))

        rules = {"backprop": bp.backprop(network, loss), "feedback": bp.feedback_alignment(network, loss)}
        print(bp.compare_rules(xor, rules, np.geomspace(0.01, 10, 7), 200, key=key))

    Args:
        trial: (key, rule, learning_rate) -> Trial, or make_trial: (rule, learning_rate) -> trial, where trial is
            (key) -> Trial. It needs a stop that means success.
        rules: {name: rule}.
        rates: the learning rates that each rule is tuned over.
        seeds: as for `bp.sweeps.compare_choices`.
        key: root of all random numbers.
        **options: as for `bp.sweeps.compare_choices`.

    Returns:
        See `bp.sweeps.compare_choices`; the dimension of the datasets is "rule".

    Raises:
        ValueError: as `bp.sweeps.compare_choices`; or something that is not a rule.
        ModuleNotFoundError: xarray, SciPy or zarr is missing; the message names the extra to install.
    """
    who = "compare_rules"
    check_choices(who, "rules", "rule", rules, is_rule, "a rule such as `bp.backprop(network, loss)`")
    trial = with_key(who, trial, "(key, rule, learning_rate)", "(rule, learning_rate)")

    def make_trial(name: str):
        return lambda key, learning_rate: trial(key, rules[name], learning_rate)

    return compare(who, "rule", {name: name for name in rules}, make_trial, rates, seeds, key, **options)


def compare_choices(
    choices: Mapping[str, Any],
    make_trial: Callable[..., Callable[..., Trial]],
    rates: Iterable[float],
    seeds: int | Iterable[int],
    *,
    key: Key,
    dimension: str = "choice",
    **options,
) -> Comparison:
    """Compare anything that changes the program, each choice at its best learning rate, on the same seeds.

    Each rate is judged on the tuning seeds: by the most successes, among equals by the fewest epochs of the successful
    runs, then by the lowest rate. The choices are then compared at their selected rates on the test seeds:

    - success: the share with Wilson's interval; in pairs McNemar's exact test and Newcombe's interval;
    - epochs to the target: Kaplan–Meier median and mean up to the horizon; in pairs the sign test and the median ratio.
      Runs that fail count as never reaching the target.

    The p-values are adjusted by Holm for all tests of the comparison. They hold for the selected rates.

    Args:
        choices: {name: value}.
        make_trial: value -> trial, where trial is (key, learning_rate) -> Trial, with a stop that means success.
        rates: the learning rates, the same for every choice.
        seeds: how many, or which. Every fourth, from the first on, is for tuning, and the others are for the test.
        key: root of all random numbers.
        dimension: what is compared, for the datasets, the table and the figure.
        **options: `tuning_seeds`, other seeds to tune on, in which case all of `seeds` are for the test; `horizon`, the
            epochs at which observation ends, by default the most that a test run took; `confidence` of the intervals,
            by default 0.95; `store` and `progress` as for `bp.sweep_over`; and the options of `bp.sweep`.

    Returns:
        A `Comparison`: the datasets `tuning` and `test`, `summaries`, `contrasts`; `print(comparison)` shows the table,
        `comparison.figure()` draws it.

    Raises:
        ValueError: choices, rates or seeds that do not fit, a trial without a stop that means success; and whatever
            `bp.sweep` refuses, with the choice named.
        ModuleNotFoundError: xarray, SciPy or zarr is missing; the message names the extra to install.
    """
    who = "compare_choices"
    check_choices(who, "choices", "value", choices, lambda value: True, "anything that `make_trial` takes")
    check_trial(who, make_trial, "(value)")
    return compare(who, dimension, choices, make_trial, rates, seeds, key, **options)


def check_choices(who: str, name: str, kind: str, choices, fits: Callable[[Any], bool], expected: str) -> None:
    """Raise a `ValueError` unless `choices` is {name: value} with values that fit."""
    if not isinstance(choices, Mapping) or not choices:
        raise ValueError(f"`{who}` expected `{name}` to be a dictionary {{name: {kind}}}, got {shown(choices)}.")
    for label, value in choices.items():
        if not fits(value):
            raise ValueError(f"`{who}` expected `{name}[{label!r}]` to be {expected}, got {shown(value)}.")


def check_trial(who: str, trial, signature: str) -> None:
    """Raise a `ValueError` unless `trial` is a function with so many arguments."""
    count = signature.count(",") + 1
    try:
        inspect.signature(trial).bind(*range(count))
    except TypeError:
        raise ValueError(
            f"`{who}` expected a function {signature} as its trial, got {shown(trial)}"
            f"{inspect.signature(trial) if callable(trial) else ''}."
        ) from None


def with_key(who: str, trial: Callable, signature: str, without_key: str) -> Callable[..., Trial]:
    """The trial (key, ...) -> Trial that is given, or that a given make_trial (...) -> trial makes."""
    try:
        bound = inspect.signature(trial).bind(*range(without_key.count(",") + 1))
    except (TypeError, ValueError):
        bound = None
    if bound is None or next(iter(bound.arguments)) == "key":
        check_trial(who, trial, signature)
        return trial

    def made(key, *choice) -> Trial:
        made_trial = trial(*choice)
        if not callable(made_trial):
            raise ValueError(
                f"`{who}` expected a trial {signature} -> Trial, or a function {without_key} that returns a trial "
                f"(key) -> Trial, got one that returns {shown(made_trial)}."
            )
        return cast(Trial, made_trial(key))

    return made


def is_rule(value) -> bool:
    """Whether a value is a learning rule."""
    return isinstance(value, Rule)
