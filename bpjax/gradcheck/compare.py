"""Compare a gradient with float64: whether it is right, and if not, where it is wrong and what the mistake is."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bpjax.analysis.alignment import alignment_on_host, name_of
from bpjax.analysis.cost import Cost, measure
from bpjax.gradcheck.agreement import budget
from bpjax.gradcheck.localize import Measured, localize, prefix
from bpjax.gradcheck.per_layer import check_structure
from bpjax.gradcheck.quantity import Quantity, References, evaluate_reference
from bpjax.gradcheck.report import LayerAlignment, LayerRow, Report, Row
from bpjax.gradcheck.trace import Trace, trace_network
from bpjax.layers.layer import PlacedLayer, placed_layers
from bpjax.rules.rule import Rule, check_batch
from bpjax.rules.units import units_within
from bpjax.util.call_text import is_function, shown
from bpjax.util.checks import check_finite, check_flag, check_key
from bpjax.util.float64 import to_host
from bpjax.util.shared_jit import SharedJit
from bpjax.util.terminal import write


def compare(
    rule: Rule | Callable, reference: Rule | Callable, params, batch, *, key=None, timed=True, show=True
) -> Report:
    """Compare a gradient with the same gradient in float64; print and return a table in backward order.

    Per leaf: relative error by norm, largest distance in ULP, cosine, ratio of norms, index of the worst entry.
    Per layer of a rule's network: the error signal, and the layer by itself, its backward against its own forward. The
    gradient of the loss is compared with its own value likewise. So a wrong dx is attributed to the layer that computed
    it and not to earlier layers. Per layer of units: the angle of its gradient to the truth, the ratio of norms and the
    share of equal signs; the table shows these where something is wrong.

    The verdict is per leaf and relative to that leaf's size. The tolerance is the budget of the dtype times √depth
    (float64 1e-12, float32 1e-5, bfloat16 0.03, float16 0.005). Where the problem itself is badly conditioned it is 8
    times the error of the reference in the same dtype, or 8 times the change of the truth when the inputs change by one
    rounding. A layer that looks wrong by itself is also allowed 8 times the effect of one rounding of its residuals. In
    float16 a saturated unit may still raise a false alarm: rounding its output loses the slope computed from it.

    Args:
        rule: under test: a `Rule`, or any function (params, batch) -> pytree of gradients.
        reference: the oracle, likewise; it is evaluated in float64 on the host.
        params: where the gradient is taken; their dtype is the dtype under test.
        batch: (x, target) for rules; anything for functions.
        key: for rules that draw random numbers in `init`.
        timed: also compile both and measure time and temporary memory. Otherwise the gradients of the whole network run
            operation by operation; single layers are compiled in either case.
        show: print the table.

    Raises:
        ValueError: a batch or params that do not fit, or a gradient whose structure differs from the reference's.
    """
    _check_options(rule, reference, key, timed, show)
    params, batch = to_host(_checked(rule, params, batch))
    evaluated = _evaluate(rule, reference, params, batch, key, timed)
    report = _report(rule, reference, params, batch, evaluated)
    if show:
        write(str(report), sys.stdout)
    return report


def _check_options(rule, reference, key, timed, show) -> None:
    """Raise a `ValueError` for an argument of the wrong kind."""
    for name, given in (("rule", rule), ("reference", reference)):
        if isinstance(given, type) or not (isinstance(given, Rule) or is_function(given)):
            raise ValueError(f"`compare` expected `{name}` to be a Rule or a function, got {shown(given)}.")
    if key is not None:
        check_key("compare", "key", key)
    check_flag("compare", "timed", timed)
    check_flag("compare", "show", show)


class Gradient(NamedTuple):
    """The result of a rule or a function."""

    value: Any  # of the loss; None for functions, which return gradients only
    grads: object


class Evaluated(NamedTuple):
    """The whole gradient, evaluated."""

    computed: Gradient  # by the rule under test
    references: References  # three of `Gradient`
    costs: dict[str, Cost]


def _evaluate(rule, reference, params, batch, key, timed: bool) -> Evaluated:
    """Evaluate the rule under test and its reference."""
    tested, oracle = (_as_gradient(function, key, params) for function in (rule, reference))
    arrays = jax.tree.map(jnp.asarray, (params, batch))
    names = {"rule": tested, "reference": oracle} if timed else {}
    compiled = {name: SharedJit(function).compiled(*arrays) for name, function in names.items()}
    computed = to_host(compiled.get("rule", tested)(*arrays))
    references = evaluate_reference(oracle, (params, batch), _dtype(params), compiled.get("reference"))
    check_structure(called(rule), computed.grads, references.truth.grads)
    return Evaluated(computed, references, measure(compiled, *arrays))


def _report(rule, reference, params, batch, evaluated: Evaluated) -> Report:
    """Compare every quantity, and locate the first wrong one."""
    network = rule.network if isinstance(rule, Rule) and rule.loss is not None else None
    dtype = _dtype(params)
    chain = placed_layers(network, params) if network is not None else []
    depth = max(1, sum(bool(jax.tree.leaves(part.params)) for part in chain))
    allowed = budget(dtype, depth)
    measured = _measured(evaluated)
    rows = [_row(rule, chain, leaf, quantity, dtype, allowed) for leaf, quantity in measured.items()]
    leaves, value = [row for row in rows if row.leaf != "value"], next((r for r in rows if r.leaf == "value"), None)
    loss = rule.loss if isinstance(rule, Rule) and chain else None
    trace = None if loss is None else trace_network(chain, loss, batch, dtype, allowed)
    examples = len(batch[1]) if trace else 1
    first_wrong, mistake = localize(leaves, measured, trace, value, examples)
    return Report(
        rule=called(rule),
        reference=called(reference),
        dtype=dtype.name,
        depth=depth,
        examples=examples,
        value=value,
        loss=None if trace is None or loss is None else Row(None, loss.name, "gradient", trace.loss.gradient),
        layers=() if trace is None else _layer_rows(trace),
        leaves=tuple(leaves),
        alignment=_alignment_rows(network, params, evaluated.computed.grads, evaluated.references.truth.grads),
        first_wrong=first_wrong,
        first_nonfinite=next((row.leaf for row in leaves if not row.agreement.finite), None),
        mistake=mistake,
        costs=evaluated.costs,
    )


def called(function: Rule | Callable) -> str:
    """The name of a rule or a function in a report."""
    return function.name if isinstance(function, Rule) else getattr(function, "__name__", "gradient")


def _dtype(params):
    """The dtype under test."""
    return jnp.result_type(jax.tree.leaves(params)[0])


def _as_gradient(function: Rule | Callable, key, params) -> Callable:
    """(params, batch) -> Gradient, for a rule with its state bound or a plain function."""
    if not isinstance(function, Rule):
        return lambda params, batch: Gradient(None, function(params, batch))
    try:
        state = function.init(key, params)
    except (TypeError, ValueError) as error:
        if key is not None:
            raise
        raise ValueError(
            f"`compare` expected `key=` for `{function.name}`, which draws random numbers: {error}"
        ) from error
    return lambda params, batch: Gradient(*function.grads(params, state, batch)[:2])


def _checked(rule, params, batch):
    """Params and batch, or a `ValueError` that says what does not fit."""
    if not jax.tree.leaves(params):
        raise ValueError("`compare` expected params with at least one array, got none.")
    if isinstance(rule, Rule):
        return params, check_batch("compare", rule, params, batch)
    check_finite("compare", "params", params)
    check_finite("compare", "batch", batch)
    return params, batch


def _measured(evaluated: Evaluated) -> Measured:
    """Every leaf of the gradient, in backward order, and the value where both sides return one."""
    four = (evaluated.computed, *evaluated.references)
    flat = [jax.tree_util.tree_leaves_with_path(gradient.grads) for gradient in four]
    by_leaf = [
        (jax.tree_util.keystr(entries[0][0]), Quantity(*(array for _, array in entries)))
        for entries in zip(*flat, strict=True)
    ]
    measured = dict(reversed(by_leaf))
    values = [gradient.value for gradient in four if gradient.value is not None]
    return measured | {"value": Quantity(*values)} if len(values) == len(four) else measured


def _row(rule, chain: list[PlacedLayer], leaf: str, quantity: Quantity, dtype, allowed: float) -> Row:
    """The row of a leaf, which belongs to the layer whose path it begins with, or of the value."""
    agreement = quantity.agreement(dtype, allowed)
    if leaf == "value":
        return Row(None, called(rule) if rule.loss is None else rule.loss.name, leaf, agreement)
    index = next((i for i, part in enumerate(chain) if leaf.startswith(prefix(part.path))), None)
    return Row(index, called(rule) if index is None else chain[index].layer.name, leaf, agreement)


def _layer_rows(trace: Trace) -> tuple[LayerRow, ...]:
    zipped = zip(trace.chain, trace.agreements, trace.per_layer, strict=True)
    rows = [LayerRow(i, part.layer.name, signal, own.dx, own.wrong) for i, (part, signal, own) in enumerate(zipped)]
    return tuple(reversed(rows))


def _alignment_rows(network, params, computed, truth) -> tuple[LayerAlignment, ...]:
    if network is None:
        return ()
    layers = units_within(network, params)
    if not layers or any(a.shape != b.shape for a, b in zip(*map(jax.tree.leaves, (computed, truth)), strict=True)):
        return ()
    aligned = zip(layers, *alignment_on_host(network, params, computed, truth), strict=True)
    return tuple(LayerAlignment(name_of(unit), *map(float, values)) for unit, *values in reversed([*aligned]))
