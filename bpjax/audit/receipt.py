"""Receipts: check what kind of learning rule a rule is by running it."""

import math
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.analysis.alignment import alignment_on_host, name_of
from bpjax.audit.resampling import CHANGED, Resampling, largest_error, same_bits
from bpjax.gradcheck.agreement import budget
from bpjax.gradcheck.report import to_plain_data
from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.rule import Rule, check_batch, check_rule
from bpjax.rules.units import units_within
from bpjax.types import Key, Params, RuleState
from bpjax.util.checks import check_count, check_flag, check_key
from bpjax.util.shared_jit import SharedJit
from bpjax.util.terminal import write
from bpjax.util.text_table import table


class LayerReceipt(NamedTuple):
    """One layer of units; the list begins at the input side."""

    name: str  # "dense, tanh"
    angle: float  # degrees between its direction and the gradient; NaN where either is 0
    ratio: float  # norm of its direction over that of the gradient
    change_at_same_output: float | None  # relative change of its direction when later weights change, not the output
    local: bool | None  # whether no bit of it changes with later weights; None for the last layer and where it is 0


class Receipt(NamedTuple):
    """The properties of a rule that `receipt` found; a sweep records its `str`."""

    rule: str
    dtype: str
    examples: int
    error: float  # largest relative error of a leaf of the direction against the gradient
    feedback: tuple[str, ...]  # where rule_state holds pytrees of the params' shapes: feedback weights
    with_params: float | None  # the same error against backprop when the params replace those; None without feedback
    bitwise: bool | None  # whether every bit then agrees
    signs: bool | None  # parallel to backprop in every layer where all weights of an array are ±c; None if not tried
    layers: tuple[LayerReceipt, ...]
    backprop_error: float = math.inf  # the same error against the layers' backward passes, surrogates included

    @property
    def exact(self) -> bool:
        """Whether its direction is the gradient, to rounding."""
        return self.error <= budget(self.dtype)

    @property
    def parallel(self) -> bool:
        """Whether every layer's direction is parallel to the gradient, of any length."""
        return all(layer.angle <= math.degrees(budget(self.dtype)) for layer in self.layers)

    @property
    def layer_local(self) -> bool:
        """Whether no hidden layer's direction depends on the weights of later layers."""
        return len(self.layers) > 1 and all(layer.local for layer in self.layers[:-1])

    @property
    def direct(self) -> bool:
        """Whether no hidden layer's direction depends on the weights of later layers at the same output."""
        changes = [layer.change_at_same_output for layer in self.layers[:-1]]
        return len(changes) > 0 and max(math.inf if change is None else change for change in changes) <= CHANGED

    @property
    def verdict(self) -> str:
        """One sentence: which of the known properties the rule has."""
        found = [self._against_gradient()]
        if self.with_params is not None:
            found.append(self._with_params())
        if self.signs:
            found.append("where all weights of an array have one size it is parallel to backprop")
        if self.layer_local:
            found.append("layer-local: no hidden layer's direction depends on the weights of later layers")
        elif self.direct:
            found.append(
                "direct: at the same output no hidden layer's direction depends on the weights of later layers"
            )
        return "; ".join(found) + "."

    def _against_gradient(self) -> str:
        if self.exact:
            return f"the gradient, to {self.error:.0e}"
        if self.backprop_error <= budget(self.dtype):
            return (
                f"backprop, to {self.backprop_error:.0e}, with backward passes that are not the derivatives of the "
                "forward passes, such as surrogates"
            )
        if self.parallel:
            return "parallel to the gradient in every layer, of another length"
        angles = ["(no direction)" if math.isnan(layer.angle) else f"{layer.angle:.1f}°" for layer in self.layers]
        return f"not the gradient: {', '.join(angles)} from it, input side first"

    def _with_params(self) -> str:
        if self.with_params is not None and self.with_params <= budget(self.dtype):
            how = "bit for bit" if self.bitwise else f"to {self.with_params:.0e}"
            return f"with the params as feedback weights it is backprop {how}"
        return (
            f"with the params in place of part of its state it is not backprop, relative error {self.with_params:.0e}"
        )

    def to_dict(self) -> dict:
        """Plain data, ready for JSON: NaN and infinities become None."""
        data = self._asdict() | {"exact": self.exact, "verdict": self.verdict}
        return {key: to_plain_data(entry) for key, entry in data.items()}

    def __repr__(self) -> str:
        return f"Receipt({self.rule}: {self.verdict})"

    def __str__(self) -> str:
        lines = [f"receipt of {self.rule} · {self.dtype}, {self.examples} examples", ""]
        lines += table(HEADER, [_cells(index, layer) for index, layer in enumerate(self.layers)])
        if self.feedback:
            how = "equal bit for bit" if self.bitwise else f"relative error {self.with_params:.1e}"
            lines.append(f"with the params at {', '.join(self.feedback)}, against backprop: {how}")
        return "\n".join([*lines, f"as it is, against the gradient: relative error {self.error:.1e}", self.verdict])


HEADER = ("layer", "", "angle", "ratio", "other later weights, same output", "other later weights")


def _cells(index: int, layer: LayerReceipt) -> tuple[str, ...]:
    change = layer.change_at_same_output
    at_same_output = "not tried" if change is None else f"changes by {change:.1e}"
    local = {None: "", True: "no bit changes", False: "changes"}[layer.local]
    at_same_output = at_same_output if layer.local is False else local
    return (str(index), layer.name, f"{layer.angle:.2f}", f"{layer.ratio:.4g}", at_same_output, local)


def receipt(rule: Rule, params: Params, batch, *, key: Key, steps: int = 0, show: bool = True) -> Receipt:
    """Run a rule, and variations of it, on one batch; print and return which known properties it has.

    - Its direction is compared with the gradient by `jax.grad`: relative error, and the angle for each layer of units;
      and with backprop, which differs from it where a layer's backward pass is a surrogate, as that of spikes.
    - Pytrees of the params' shapes in its state are feedback weights. With the params in place of all of them its
      direction is compared with backprop's.
    - Without feedback weights, all weights that carry signals are set to ± their mean size: a rule that reads only the
      signs of the weights, such as sign symmetry, is then parallel to backprop.
    - For each hidden layer the weights of all later layers are resampled. If no bit of its direction changes it is
      layer-local. Otherwise Gauss–Newton steps in float64 change the new weights until the first examples get the same
      output, and so the same error, as before. If the direction is then the same (to 1e-8) the layer's teaching signal
      is direct. This holds for the layer before the output under every rule with fixed feedback weights. Not tried
      where later layers have fewer weights than outputs, or where the steps do not converge.

    Works for any `Rule` that names its network and its loss. Only one step is examined: what the state becomes later
    is not seen.

    Args:
        rule: under test.
        params: of its network, not all zero.
        batch: (x, target).
        key: for the rule's state and for the resampled weights.
        steps: how often the rule sees the batch before, at the same params: for rules that have no direction at first,
            such as delayed ones.
        show: print it.

    Raises:
        ValueError: the rule does not name its network or loss, a batch or params that do not fit, or a network
            without weights.
    """
    check_rule("receipt", rule)
    check_key("receipt", "key", key)
    check_flag("receipt", "show", show)
    if rule.network is None or rule.loss is None:
        raise ValueError(
            f"`receipt` expected a rule that names what it was made from: `Rule(..., network, loss)` for {rule.name}."
        )
    check_count("receipt", "steps", steps, least=0)
    batch = check_batch("receipt", rule, params, batch)
    if not units_within(rule.network, params):
        raise ValueError(f"`receipt` expected a network with weights, got params {jax.tree.map(jnp.shape, params)}.")
    key_state, key_draws = jax.random.split(key)
    state, grads = rule.init(key_state, params), SharedJit(rule.grads)
    for _ in range(steps):
        state = grads(params, state, batch)[2]
    result = _found(rule, params, state, batch, key_draws)
    if show:
        write(str(result), sys.stdout)
    return result


def _found(rule: Rule, params: Params, state: RuleState, batch, key: Key) -> Receipt:
    """Run the variations."""
    resampling = Resampling(rule, params, state, batch, key)
    truth = autodiff(rule.network, rule.loss).grads(params, (), batch)[1]  # type: ignore[arg-type]
    feedback, replaced = replace_feedback(state, params)
    # Not compiled: one rounding per operation, the same in both.
    by_backprop = backprop(rule.network, rule.loss).grads(params, (), batch)[1]  # type: ignore[arg-type]
    with_params = rule.grads(params, replaced, batch)[1] if feedback else None
    result = Receipt(
        rule=rule.name,
        dtype=jnp.result_type(jax.tree.leaves(params)[0]).name,
        examples=len(batch[1]),
        error=largest_error(resampling.direction, truth),
        feedback=feedback,
        with_params=None if with_params is None else largest_error(with_params, by_backprop),
        bitwise=None if with_params is None else same_bits(with_params, by_backprop),
        signs=None,
        layers=tuple(_layer_receipts(resampling, truth)),
        backprop_error=largest_error(resampling.direction, by_backprop),
    )
    if not feedback and not result.parallel and result.backprop_error > budget(result.dtype):
        result = result._replace(signs=_parallel_at_equal_sizes(rule, params, state, batch))
    return result


def _layer_receipts(resampling: Resampling, truth: Params) -> list[LayerReceipt]:
    network, params = resampling.rule.network, resampling.params
    aligned = alignment_on_host(network, params, resampling.direction, truth)  # type: ignore[arg-type]
    zipped = zip(units_within(network, params), aligned.angle, aligned.ratio, strict=True)  # type: ignore[arg-type]
    return [
        LayerReceipt(name_of(unit), float(angle), float(ratio), *resampling.dependence(index))
        for index, (unit, angle, ratio) in enumerate(zipped)
    ]


# --- Feedback weights in the state ----------------------------------------------------------------------------------


def replace_feedback(state: RuleState, params: Params) -> tuple[tuple[str, ...], RuleState]:
    """Find the pytrees of the params' structure and shapes in the state; return their paths, and the state with params.

    The paths begin with "rule_state"; in the second result the params replace each of these pytrees.
    """
    structure, shapes = jax.tree.structure(params), list(map(jnp.shape, jax.tree.leaves(params)))

    def fits(tree) -> bool:
        return jax.tree.structure(tree) == structure and list(map(jnp.shape, jax.tree.leaves(tree))) == shapes

    entries, outer = jax.tree_util.tree_flatten_with_path(state, is_leaf=fits)
    paths = tuple(f"rule_state{jax.tree_util.keystr(path)}" for path, entry in entries if fits(entry))
    return paths, outer.unflatten([params if fits(entry) else entry for _, entry in entries])


# --- Equal sizes -----------------------------------------------------------------------------------------------------


def _parallel_at_equal_sizes(rule: Rule, params: Params, state: RuleState, batch) -> bool:
    """Whether every layer's direction is parallel to backprop's once all weights of an array are ± their mean size."""
    equal = jax.tree.map(lambda w: jnp.mean(jnp.abs(w)) * jnp.sign(w) if w.ndim >= 2 else w, params)
    direction = SharedJit(rule.grads)(equal, state, batch)[1]
    truth = backprop(rule.network, rule.loss).grads(equal, (), batch)[1]  # type: ignore[arg-type]
    angles = alignment_on_host(rule.network, params, direction, truth).angle  # type: ignore[arg-type]
    return bool(np.all(angles <= math.degrees(budget(jnp.result_type(jax.tree.leaves(params)[0]).name))))
