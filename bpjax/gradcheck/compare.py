"""Is this gradient right, and if not, where is it wrong, and what is the mistake?"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bpjax.analysis.alignment import alignment_on_host, name_of
from bpjax.analysis.cost import measure
from bpjax.gradcheck.agreement import agree, budget
from bpjax.gradcheck.float64 import float64_on_host, nudge, to_host, widen_to_float64
from bpjax.gradcheck.localize import blame, prefix
from bpjax.gradcheck.per_layer import check_structure
from bpjax.gradcheck.report import LayerAlignment, LayerRow, Report, Row
from bpjax.gradcheck.trace import Inside, look_inside
from bpjax.layers.layer import Part, parts
from bpjax.rules.rule import Rule, check_batch
from bpjax.rules.units import units_within
from bpjax.util.checks import check_finite


def compare(
    rule: Rule | Callable, reference: Rule | Callable, params, batch, *, key=None, timed=True, show=True
) -> Report:
    """Hold a gradient against the same gradient in float64; print and return a table in backward order.

    Per leaf: relative error by norm, largest distance in ULP, cosine, ratio of norms, index of the worst entry.
    Per layer of a rule's network: the error signal, and the layer alone, its backward against its own forward; the
    loss alone too. So a wrong dx is blamed on the layer that made it and not on those below it. Per layer of units:
    the angle of its gradient to the truth, the ratio of norms, the share of equal signs; printed where not all is
    right.

    The verdict is per leaf and relative to that leaf's own size. Tolerated is the budget of the dtype, times √depth
    (float64 1e-12, float32 1e-5, bfloat16 0.03, float16 0.005), or, where the problem itself is badly conditioned, 8
    times what the reference is off by in the same dtype or what one rounding of the inputs does to the truth. A layer
    that looks wrong alone is also allowed 8 times what one rounding of its residuals does. In float16 a saturated unit
    may still raise a false alarm: its slope, taken from the output, is lost in rounding it.

    Args:
        rule: what is under test: a `Rule`, or any function (params, batch) -> pytree of gradients.
        reference: the oracle, likewise; it is computed in float64 on the host.
        params: where the gradient is taken; their dtype is the dtype under test.
        batch: (x, target) for rules; anything for functions.
        key: for rules that draw numbers in `init`.
        timed: also compile both and measure time and temporary memory. Without, the whole gradients run operation by
            operation; the parts alone are compiled either way.
        show: print the table.

    Raises:
        ValueError: a batch or params that do not fit, or a gradient without the structure of the reference's.
    """
    network = rule.network if isinstance(rule, Rule) and rule.loss is not None else None
    params, batch = to_host(_checked(rule, params, batch))
    dtype = jnp.result_type(jax.tree.leaves(params)[0])
    rounding = 2 * float(jnp.finfo(dtype).eps)
    tested, oracle = (_as_gradient(function, key, params) for function in (rule, reference))

    arrays = jax.tree.map(jnp.asarray, (params, batch))
    costs = measure({"rule": tested, "reference": oracle}, *arrays) if timed else {}
    found = to_host((jax.jit(tested) if timed else tested)(*arrays))
    companion = to_host((jax.jit(oracle) if timed else oracle)(*arrays))
    with float64_on_host():
        truth = to_host(oracle(*widen_to_float64((params, batch))))
        moved = to_host(oracle(*widen_to_float64(nudge((params, batch), rounding))))
    check_structure(called(rule), found.grads, truth.grads)

    chain = parts(network, params) if network is not None else []
    depth = max(1, sum(bool(jax.tree.leaves(part.params)) for part in chain))
    allowed = budget(dtype, depth)
    rows, pairs = _rows(rule, chain, (found, truth, companion, moved), dtype, allowed)
    leaves, value = [row for row in rows if row.leaf != "value"], next((r for r in rows if r.leaf == "value"), None)
    inside = look_inside(chain, rule.loss, batch, dtype, allowed, rounding) if chain else None  # type: ignore[union-attr]
    examples = len(batch[1]) if inside else 1
    first_wrong, mistake = blame(leaves, pairs, inside, value, examples)
    report = Report(
        rule=called(rule),
        reference=called(reference),
        dtype=dtype.name,
        depth=depth,
        examples=examples,
        value=value,
        loss=None if inside is None else Row(None, rule.loss.name, "gradient", inside.loss.gradient),  # type: ignore[union-attr]
        layers=() if inside is None else _layer_rows(inside),
        leaves=tuple(leaves),
        alignment=_alignment_rows(network, params, found.grads, truth.grads),
        first_wrong=first_wrong,
        first_nonfinite=next((row.leaf for row in leaves if not row.agreement.finite), None),
        mistake=mistake,
        costs=costs,
    )
    if show:
        print(report)
    return report


def called(function: Rule | Callable) -> str:
    """What a report calls it."""
    return function.name if isinstance(function, Rule) else getattr(function, "__name__", "gradient")


class Gradient(NamedTuple):
    """What a rule or a function gives."""

    value: jax.Array | None  # None for functions, which give gradients alone
    grads: object


def _as_gradient(function: Rule | Callable, key, params) -> Callable:
    """(params, batch) -> Gradient, for a rule with its state bound or a plain function."""
    if not isinstance(function, Rule):
        return lambda params, batch: Gradient(None, function(params, batch))
    try:
        state = function.init(key, params)
    except (TypeError, ValueError) as error:
        if key is not None:
            raise
        raise ValueError(f"`compare` expected `key=` for `{function.name}`, which draws numbers: {error}") from error
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


def _rows(rule, chain: list[Part], gradients, dtype, allowed: float):
    """Every leaf and the value held against the truth, in backward order; and the arrays, by leaf."""
    flat = [jax.tree_util.tree_leaves_with_path(gradient.grads) for gradient in gradients]
    rows, pairs = [], {}
    for (path, a), (_, truth), (_, reference), (_, moved) in reversed(list(zip(*flat, strict=True))):
        leaf = jax.tree_util.keystr(path)
        index = next((i for i, part in enumerate(chain) if leaf.startswith(prefix(part.path))), None)
        name = called(rule) if index is None else chain[index].layer.name
        agreement = agree(a, truth, dtype=dtype, allowed=allowed, reference=reference, moved=moved)
        rows.append(Row(index, name, leaf, agreement))
        pairs[leaf] = (a, truth)
    found, truth, reference, moved = (gradient.value for gradient in gradients)
    if found is not None and truth is not None:
        agreement = agree(found, truth, dtype=dtype, allowed=allowed, reference=reference, moved=moved)
        rows.append(Row(None, called(rule) if rule.loss is None else rule.loss.name, "value", agreement))
        pairs["value"] = (found, truth)
    return rows, pairs


def _alignment_rows(network, params, found, truth) -> tuple[LayerAlignment, ...]:
    if network is None:
        return ()
    layers = units_within(network, params)
    if not layers or any(a.shape != b.shape for a, b in zip(*map(jax.tree.leaves, (found, truth)), strict=True)):
        return ()
    aligned = zip(layers, *alignment_on_host(network, params, found, truth), strict=True)
    return tuple(LayerAlignment(name_of(unit), *map(float, numbers)) for unit, *numbers in reversed([*aligned]))


def _layer_rows(inside: Inside) -> tuple[LayerRow, ...]:
    zipped = zip(inside.chain, inside.signals, inside.alone, strict=True)
    rows = [LayerRow(i, part.layer.name, s, alone.dx, alone.wrong) for i, (part, s, alone) in enumerate(zipped)]
    return tuple(reversed(rows))
