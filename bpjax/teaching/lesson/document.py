"""`lesson`: record one or two trainings and write them as one page."""

import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.results.page_frame import asset
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import Rule, as_batch, check_batch, check_made_of, check_rule
from bpjax.teaching.lesson.data import Recorded, page_data
from bpjax.teaching.lesson.live import descent_of
from bpjax.teaching.lesson.record import Start, close, has_error_signals, record, travels_through
from bpjax.teaching.lesson.units import DrawnLayer, cannot_be_drawn, drawn_layers
from bpjax.teaching.lesson.words import words
from bpjax.training.inputs import as_params
from bpjax.types import Batch, Key, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_instance, check_key, check_text
from bpjax.util.float64 import float64_on_host, to_host, widen_to_float64
from bpjax.util.sealed_file import check_replaceable, write_sealed_page
from bpjax.util.targets import rows_of

MOST_STEPS = 20_000
MOST_EXAMPLES = 500
MOST_RECORDED = 20_000_000
"""Numbers of a run that are recorded before the page's are chosen, eight bytes each."""
SCRIPTS = ("arithmetic", "record", "numbers", "network", "formulas", "plots", "table", "live", "page")
"""The page's scripts, each of which uses those before it."""


class LessonRun(NamedTuple):
    """A second training from the same weights on the same examples, shown beside the first."""

    optimizer: optax.GradientTransformation
    rule: Rule | None = None
    """A rule of the lesson's network and loss; None for backpropagation."""
    key: Key | None = None
    """For a rule that draws random numbers."""
    name: str | None = None
    """On the page; by default the rule and the optimizer."""


def lesson(
    network: Layer,
    loss: Loss,
    params: Params,
    batch: Batch,
    optimizer: optax.GradientTransformation,
    steps: int = 500,
    path: str | Path = "lesson.html",
    *,
    rule: Rule | None = None,
    key: Key | None = None,
    beside: LessonRun | None = None,
    title: str | None = None,
    language: str = "en",
) -> Path:
    """Train a small network and write every quantity of the training as one self-contained HTML page; returns its path.

    The page draws the network and shows, for every step, phase and example, x, a, o, δ, ∂E/∂w and Δw of every unit and
    connection, and the formula of the chosen one with the numbers put in. It marks saturated and dead units, draws the
    error curve and, for two inputs, the output over the plane. The reader can change a weight, η or α, and the page
    continues with the same arithmetic in JavaScript: for backpropagation with sigmoid, tanh, relu and linear units,
    squared error or cross entropy, and gradient descent with momentum at constant η and α. The page says so where it
    cannot.

    The training is computed in float64, whatever the dtype of `params`, each step on the whole batch. The page has at
    most 1 MB and makes no network requests. Where not everything fits, it holds fewer examples, then fewer steps.

    Args:
        network: a chain of dense layers and activations, at most 6 layers and 40 units or inputs a layer.
        loss: compared with `batch`.
        params: of the network, the weights to start from.
        batch: x (N, D) and targets, N ≤ 500.
        optimizer: any optax transformation.
        steps: of the training, at most 20,000.
        path: of the page. A page that this function wrote and that is unchanged since is replaced, nothing else is.
        rule: a learning rule of `network` and `loss`; None for backpropagation.
        key: for a rule that draws random numbers.
        beside: a second training, from the same weights.
        title: of the page; by default "Backpropagation" and the sizes of the network.
        language: "en" or "de".

    Raises:
        ValueError: the network cannot be drawn, the arguments do not fit each other, the run is too long to record, or
            `path` holds something else or cannot be written.
    """
    texts, path = words(language), check_replaceable("lesson", path)
    check_made_of("lesson", network, loss)
    steps = check_count("lesson", "steps", steps, most=MOST_STEPS)
    if title is not None:
        check_text("lesson", "title", title)
    runs = [LessonRun(optimizer, rule, key)]
    if beside is not None:
        example = "bp.teaching.LessonRun(bp.momentum(0.1))"
        runs.append(check_instance("lesson", "beside", beside, LessonRun, example))
    rules = [_rule_of(run, network, loss) for run in runs]
    with float64_on_host():
        params = widen_to_float64(to_host(as_params("lesson", params)))
        batch = widen_to_float64(to_host(as_batch("lesson", batch)))
        x, target = check_batch("lesson", rules[0], params, batch)
        layers = _checked_layers(network, params, x, steps)
        recorded = [_recorded(run, r, layers, params, (x, target), steps) for run, r in zip(runs, rules, strict=True)]
        rows = np.asarray(rows_of(target, recorded[0].frames.output[-1][0]), float).reshape(len(x), -1)
        data = page_data(layers, loss, (np.asarray(x), rows), recorded)
    heading = title or f"Backpropagation, {data['about']['network'].split()[0]}"
    return write_sealed_page("lesson", path, page_of(data, texts, language, heading))


def page_of(data: dict, texts: dict[str, str], language: str, title: str) -> str:
    """The HTML of the page."""
    folder = files("bpjax.teaching.lesson").joinpath("page")
    read = lambda name: folder.joinpath(name).read_text(encoding="utf-8")
    fields = {name: html.escape(text) for name, text in texts.items()} | {
        "title": html.escape(title),
        "language": language,
        "style": read("style.css"),
        "scripts": "\n".join([asset("unpack.js"), *(read(f"{name}.js") for name in SCRIPTS)]),
        "data": json.dumps(data | {"words": texts}, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], read("page.html"))


def _rule_of(run: LessonRun, network: Layer, loss: Loss) -> Rule:
    """The rule of a run, checked: it belongs to the network and the loss, and has a key if it needs one."""
    check_instance("lesson", "optimizer", run.optimizer, optax.GradientTransformation, "bp.momentum(0.1)")
    if run.key is not None:
        check_key("lesson", "key", run.key)
    if run.name is not None:
        check_text("lesson", "name", run.name)
    if run.rule is None:
        return backprop(network, loss)
    rule = check_rule("lesson", run.rule)
    if rule.network != network or rule.loss != loss:
        raise ValueError(
            f"`lesson` expected a rule of the lesson's own network and loss, got {shown(rule)}. Make it with the same "
            "objects: `bp.feedback_alignment(network, loss)`."
        )
    return rule


def _checked_layers(network: Layer, params: Params, x, steps: int) -> list[DrawnLayer]:
    """The layers to draw, or a `ValueError` for a network or a run that is too large."""
    if not hasattr(x, "ndim"):
        raise cannot_be_drawn("examples that are not one array")
    layers = drawn_layers(network, params, jnp.asarray(x))
    if len(x) > MOST_EXAMPLES:
        raise ValueError(f"`lesson` expected at most {MOST_EXAMPLES} examples, got {len(x)}. Choose some of them.")
    units = sum(layer.units for layer in layers)
    numbers = (steps + 1) * (4 * len(x) * units + 4 * sum(layer.units * (layer.inputs + 1) for layer in layers))
    if numbers > MOST_RECORDED:
        raise ValueError(
            f"`lesson` expected a run of at most {MOST_RECORDED:,} numbers, got {numbers:,}: {steps} steps of {len(x)} "
            f"examples through {units} units. Choose fewer steps or examples."
        )
    return layers


def _recorded(
    run: LessonRun, rule: Rule, layers: list[DrawnLayer], params: Params, batch: Batch, steps: int
) -> Recorded:
    """Train, and find out what the rule and the optimizer do."""
    key = jax.random.key(0) if run.key is None else run.key
    if run.key is None and jax.tree.leaves(jax.eval_shape(rule.init, key, params)):
        raise ValueError(f"`lesson` expected a key for the state of the rule {rule.name!r}, got none. Give `key=`.")
    start = Start(params, run.optimizer.init(params), rule.init(key, params))
    is_backprop = run.rule is None
    frames = record(rule, run.optimizer, layers, start=start, batch=batch, steps=steps, exact=is_backprop)
    signals = is_backprop or has_error_signals(layers, batch[0], frames)
    through_weights = travels_through(layers, frames, frames.weights)
    back = "weights" if through_weights else "feedback" if travels_through(layers, frames, frames.feedback) else None
    optimizer = repr(run.optimizer)
    optimizer = optimizer if "<" not in optimizer else "optax"
    return Recorded(
        name=run.name or f"{rule.name}, {optimizer}",
        rule=rule.name,
        optimizer=optimizer,
        frames=frames,
        signals=signals,
        back=back if signals else None,
        exact=is_backprop or (signals and through_weights and _starts_at_the_error(layers, frames)),
        descent=descent_of(start.optimizer, frames),
    )


def _starts_at_the_error(layers: list[DrawnLayer], frames) -> bool:
    """Whether δ = φ′(a) ⊙ ∂E/∂o in the last layer."""
    return layers[-1].is_elementwise and close(frames.slope[-1] * frames.output_gradient, frames.error_signal[-1])
