"""Is the rule that ran the rule that was named? What can be told of any rule by running it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.analysis.alignment import alignment_on_host, name_of
from bpjax.audit.resampling import CHANGED, Above, largest_error, same_bits
from bpjax.gradcheck.agreement import budget
from bpjax.gradcheck.report import table, to_plain_data
from bpjax.rules.backprop import autodiff, backprop
from bpjax.rules.rule import Rule, check_batch
from bpjax.rules.units import units_within
from bpjax.types import Key, Params, RuleState
from bpjax.util.checks import check_count


class LayerReceipt(NamedTuple):
    """One layer of units, input side first."""

    name: str  # "dense, tanh"
    angle: float  # degrees between its direction and the gradient; NaN where either is 0
    ratio: float  # norm of its direction over that of the gradient
    between: float | None  # relative change of its direction under other weights above, the output held; see `receipt`
    local: bool | None  # no bit of it changes under other weights above; None for the last layer and where it is 0


class Receipt(NamedTuple):
    """What was found; `str` of it is what a sweep records."""

    rule: str
    dtype: str
    examples: int
    error: float  # largest relative error of a leaf of the direction against the gradient
    feedback: tuple[str, ...]  # where in rule_state there are pytrees of the params' shapes
    handed: float | None  # the same error against backprop, those being the true weights; None where there are none
    to_the_last_bit: bool | None  # whether every bit then agrees
    signs: bool | None  # parallel to backprop in every layer where all weights of an array are ±c; None if not tried
    layers: tuple[LayerReceipt, ...]

    @property
    def exact(self) -> bool:
        """Whether its direction is the gradient, to rounding."""
        return self.error <= budget(self.dtype)

    @property
    def parallel(self) -> bool:
        """Whether every layer's direction is that of the gradient, whatever its length."""
        return all(layer.angle <= math.degrees(budget(self.dtype)) for layer in self.layers)

    @property
    def layer_local(self) -> bool:
        """Whether no hidden layer's direction depends on the weights above it."""
        return len(self.layers) > 1 and all(layer.local for layer in self.layers[:-1])

    @property
    def direct(self) -> bool:
        """Whether, for the same output, no hidden layer's direction depends on the weights above it."""
        changes = [math.inf if layer.between is None else layer.between for layer in self.layers[:-1]]
        return len(changes) > 0 and max(changes) <= CHANGED

    @property
    def verdict(self) -> str:
        """One sentence: the properties it has of those that are known."""
        found = []
        if self.exact:
            found.append(f"the gradient, to {self.error:.0e}")
        elif self.parallel:
            found.append("along the gradient in every layer, of another length")
        else:
            off = ["(no direction)" if math.isnan(layer.angle) else f"{layer.angle:.1f}°" for layer in self.layers]
            found.append(f"not the gradient: {', '.join(off)} from it, input side first")
        if self.handed is not None and self.handed <= budget(self.dtype):
            how = "to the last bit" if self.to_the_last_bit else f"to {self.handed:.0e}"
            found.append(f"handed the true weights it is backprop {how}")
        elif self.handed is not None:
            found.append(f"handed the params for part of its state it is not backprop, {self.handed:.0e} off")
        if self.signs:
            found.append("where all weights of an array are of one size it is along backprop's")
        if self.layer_local:
            found.append("layer-local: no hidden layer's direction depends on the weights above it")
        elif self.direct:
            found.append("direct: for the same output no hidden layer's direction depends on the weights above it")
        return "; ".join(found) + "."

    def to_dict(self) -> dict:
        """Plain data, ready for JSON: numbers that are not finite become None."""
        data = self._asdict() | {"exact": self.exact, "verdict": self.verdict}
        return {key: to_plain_data(entry) for key, entry in data.items()}

    def __str__(self) -> str:
        lines = [f"receipt of {self.rule} · {self.dtype}, {self.examples} examples", ""]
        lines += table(HEADER, [_cells(index, layer) for index, layer in enumerate(self.layers)])
        if self.feedback:
            how = "to the last bit" if self.to_the_last_bit else f"relative error {self.handed:.1e}"
            lines.append(f"handed the true weights at {', '.join(self.feedback)}, against backprop: {how}")
        return "\n".join([*lines, f"as it is, against the gradient: relative error {self.error:.1e}", self.verdict])


HEADER = ("layer", "", "angle", "ratio", "other weights above, same output", "any other weights above")


def _cells(index: int, layer: LayerReceipt) -> tuple[str, ...]:
    between = "not tried" if layer.between is None else f"changes by {layer.between:.1e}"
    local = {None: "", True: "no bit changes", False: "changes"}[layer.local]
    held = between if layer.local is False else local
    return (str(index), layer.name, f"{layer.angle:.2f}", f"{layer.ratio:.4g}", held, local)


def receipt(rule: Rule, params: Params, batch, *, key: Key, steps: int = 0, show: bool = True) -> Receipt:
    """Run what proves, or disproves, what a rule is said to be; print and return what was found.

    - Its direction against the gradient by `jax.grad`: relative error, and the angle for each layer of units.
    - Pytrees of the params' shapes in its state are feedback weights: with the params in place of all of them its
      direction is held against backprop's.
    - Where there are none, weights that carry signals are set to ± their mean size: is it then along backprop's, as
      that of sign symmetry is?
    - For each hidden layer all weights above it are drawn anew. Stays its direction to the last bit, it is
      layer-local. If not, they are brought back, by Gauss-Newton steps in float64, to where the first examples get the
      same output as before, and so the same error: stays its direction then (to 1e-8), it is taught directly. In the
      layer below the output, that is so for every rule with fixed feedback weights. Not tried where there are fewer
      weights than outputs, or where the steps do not find the output again.

    Works on any `Rule` that names its network and its loss, one's own too. All of it is seen in one step: what
    the state would become later is not looked at.

    Args:
        rule: what is under test.
        params: of its network, not all zero.
        batch: (x, target).
        key: for the rule's state and for the weights drawn.
        steps: how often the rule has seen the batch before, at the same params: for rules that begin with no direction
            at all, such as delayed ones.
        show: print it.

    Raises:
        ValueError: the rule does not name its network or loss, a batch or params that do not fit, or a network
            without weights.
    """
    network, loss = rule.network, rule.loss
    if network is None or loss is None:
        raise ValueError(
            f"`receipt` expected a rule that names what it was made from: `Rule(..., network, loss)` for {rule.name}."
        )
    check_count("receipt", "steps", steps, least=0)
    batch = check_batch("receipt", rule, params, batch)
    layers = units_within(network, params)
    if not layers:
        raise ValueError(f"`receipt` expected a network with weights, got params {jax.tree.map(jnp.shape, params)}.")
    key_state, key_draws = jax.random.split(key)
    state, grads = rule.init(key_state, params), jax.jit(rule.grads)
    for _ in range(steps):
        state = grads(params, state, batch)[2]
    above = Above(rule, params, state, batch, key_draws)
    found, truth = above.whole, autodiff(network, loss).grads(params, (), batch)[1]
    where, handed = hand_over(state, params)
    # Not compiled: one rounding for each operation, the same in both.
    by_backprop = backprop(network, loss).grads(params, (), batch)[1]
    with_them = rule.grads(params, handed, batch)[1] if where else None
    aligned = alignment_on_host(network, params, found, truth)
    rows = [
        LayerReceipt(name_of(unit), float(angle), float(ratio), *above.tried(index))
        for index, (unit, angle, ratio) in enumerate(zip(layers, aligned.angle, aligned.ratio, strict=True))
    ]
    result = Receipt(
        rule=rule.name,
        dtype=jnp.result_type(jax.tree.leaves(params)[0]).name,
        examples=len(batch[1]),
        error=largest_error(found, truth),
        feedback=where,
        handed=None if with_them is None else largest_error(with_them, by_backprop),
        to_the_last_bit=None if with_them is None else same_bits(with_them, by_backprop),
        signs=None,
        layers=tuple(rows),
    )
    if not where and not result.parallel:
        result = result._replace(signs=_parallel_at_equal_sizes(rule, params, state, batch))
    if show:
        print(result)
    return result


# --- Feedback weights in the state ----------------------------------------------------------------------------------


def hand_over(state: RuleState, params: Params) -> tuple[tuple[str, ...], RuleState]:
    """Where in the state there are pytrees of the params' structure and shapes, and the state with params for them."""
    structure, shapes = jax.tree.structure(params), list(map(jnp.shape, jax.tree.leaves(params)))

    def fits(tree) -> bool:
        return jax.tree.structure(tree) == structure and list(map(jnp.shape, jax.tree.leaves(tree))) == shapes

    entries, outer = jax.tree_util.tree_flatten_with_path(state, is_leaf=fits)
    where = tuple(f"rule_state{jax.tree_util.keystr(path)}" for path, entry in entries if fits(entry))
    return where, outer.unflatten([params if fits(entry) else entry for _, entry in entries])


# --- Equal sizes -----------------------------------------------------------------------------------------------------


def _parallel_at_equal_sizes(rule: Rule, params: Params, state: RuleState, batch) -> bool:
    """Whether every layer's direction is parallel to backprop's once all weights of an array are ± their mean size."""
    equal = jax.tree.map(lambda w: jnp.mean(jnp.abs(w)) * jnp.sign(w) if w.ndim >= 2 else w, params)
    found = jax.jit(rule.grads)(equal, state, batch)[1]
    truth = backprop(rule.network, rule.loss).grads(equal, (), batch)[1]  # type: ignore[arg-type]
    angles = alignment_on_host(rule.network, params, found, truth).angle  # type: ignore[arg-type]
    return bool(np.all(angles <= math.degrees(budget(jnp.result_type(jax.tree.leaves(params)[0]).name))))
