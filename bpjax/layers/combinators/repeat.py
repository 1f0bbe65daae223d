"""A layer repeated with separate weights at every depth, as one loop: deep networks compile as fast as shallow ones."""

import jax
import jax.numpy as jnp

from bpjax.layers.checkpointed import at, sweep_back, sweep_forward
from bpjax.layers.combinators.chain import check_unchanged
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, as_shape, check_layer, no_gradient
from bpjax.types import Params
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_arguments, check_count, other_params


def repeat(layer: Layer, n: int, snapshots: int | None = None) -> Layer:
    """`chain(*[layer] * n)` as a scan: n copies one after another, each with separate weights, compiled once.

    forward    x₀ = x,     xₗ₊₁ = f(wₗ, xₗ),         y = xₙ           for l = 0 … n−1
    backward   dxₙ = dy,   dxₗ = (∂f/∂x)ᵀ dxₗ₊₁      for l = n−1 … 0

    Params are those of the layer with a leading axis of size n; `unstack` converts them to those of the chain. Initial
    params are drawn separately for each depth. Residuals: those of the layer, stacked over depth, every array once.
    The output of a depth is the input of the next: for a layer with both x and y in its residuals, such as
    `chain(dense(H), tanh)`, only every x and the last y are stored. Dropout draws a separate mask at each depth, the
    same as in the chain.

    With `snapshots` the residuals are at most that many inputs xₗ, and those of the layer at the last depth. The
    backward pass computes the other inputs again, by the binomial schedule of Griewank and Walther (see
    `bpjax.layers.snapshots`). Like `remat`, use it with backpropagation only.

    Args:
        layer: Keeps the shape of its input.
        n: The depth.
        snapshots: The number of inputs xₗ that are stored at the same time, x₀ included; by default the residuals of
            all depths are stored.

    Raises:
        ValueError: `layer` is not a Layer, `n` or `snapshots` not a positive integer; in `init`, the layer changes the
            shape; in `forward`, the first axis of the params is not of size n.
    """
    check_layer("repeat", layer)
    n = check_count("repeat", "n", n)
    if snapshots is not None:
        snapshots = check_count("repeat", "snapshots", snapshots)

    def init(key, in_shape):
        shapes = []

        def init_one(key):
            params, out_shape = layer.init(key, in_shape)
            shapes.append(out_shape)
            return params

        params = jax.vmap(init_one)(jax.random.split(key, n))
        check_unchanged("repeat", layer, as_shape(in_shape), shapes[0])
        return params, shapes[0]

    def forward(params, x, context=EMPTY):
        check_depth(params)
        if snapshots is not None:
            y, _, stored = sweep_forward(step_at(params, context), x, n, snapshots, every=False)
            return y, (context, stored)

        def step(x, depth):
            params, key = depth
            y, residuals = layer.forward_in(context._replace(key=key), params, x)
            return y, _deduplicated(residuals, x, y)

        keys = None if context.key is None else jax.vmap(lambda l: context.for_part(l).key)(jnp.arange(n))
        y, stacked = jax.lax.scan(step, x, (params, keys), length=n)
        return y, (stacked, tuple(jax.tree.leaves(y)[i] for i in stacked.shared))

    def step_back(carry, depth):
        dy, after = carry
        params, stored = depth
        dparams, dx = layer.backward(params, stored.residuals(after), _show(dy))
        return (_hide(dx), stored.before), dparams

    def backward(params, residuals, dy):
        check_depth(params)
        if snapshots is not None:
            context, stored = residuals

            def back(depth, residuals, dy):
                dparams, dx = layer.backward(at(params, depth), residuals, _show(dy))
                return _hide(dx), dparams

            dx, dparams = sweep_back(step_at(params, context), back, stored, _hide(dy), n, snapshots)
            return dparams, _show(dx)
        stacked, last = residuals
        (dx, _), dparams = jax.lax.scan(step_back, (_hide(dy), last), (params, stacked), length=n, reverse=True)
        return dparams, _show(dx)

    def step_at(params, context):
        def step(depth, x):
            y, residuals = layer.forward_in(context.for_part(depth), at(params, depth), x)
            return y, None, residuals

        return step

    def check_depth(params):
        for leaf in jax.tree.leaves(params):
            if jnp.ndim(leaf) == 0 or len(leaf) != n:
                raise other_params(f"`repeat(…, {n})`", f"with a first axis of {n}", params)

    parts = Parts((layer,), lambda layer: repeat(layer, n, snapshots))
    arguments = call_text(n, snapshots=(snapshots, None))
    return Layer("repeat", init, forward, backward, Kind.COMBINATOR, parts, f"{{parts}}, {arguments}", layer.uses)


def unstack(params: Params, n: int) -> tuple[Params, ...]:
    """Convert the params of `repeat(layer, n)` to those of `chain(*[layer] * n)`.

    Raises:
        ValueError: `n` is not the first axis of all params.
    """
    check_count("unstack", "n", n)
    check_arguments("unstack", params, "`params`")
    for leaf in jax.tree.leaves(params):
        if jnp.ndim(leaf) == 0 or len(leaf) != n:
            raise other_params("`unstack`", f"with a first axis of {n}", params)
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(n))


@jax.tree_util.register_pytree_node_class
class _Deduplicated:
    """The residuals of a layer with no array twice: `arrays`, and how to assemble the residuals from them.

    Each source is (index into `arrays`, whether the array is that of the next depth). `shared` lists the leaves of x
    that the previous depth takes from this one, since they are its output.
    """

    def __init__(self, arrays, structure, sources, shared):
        self.arrays, self.structure, self.sources, self.shared = tuple(arrays), structure, sources, shared

    def tree_flatten(self):
        return self.arrays, (self.structure, self.sources, self.shared)

    @classmethod
    def tree_unflatten(cls, how, arrays):
        return cls(arrays, *how)

    @property
    def _next_places(self):
        return tuple(dict.fromkeys(place for place, is_next in self.sources if is_next))

    @property
    def before(self):
        """The `after` that the previous depth needs."""
        return tuple(self.arrays[place] for place in self._next_places)

    def residuals(self, after):
        """The residuals of the layer, given the arrays taken from the next depth."""
        later = dict(zip(self._next_places, after, strict=True))
        return self.structure.unflatten([later[p] if is_next else self.arrays[p] for p, is_next in self.sources])


def _deduplicated(residuals, x, y) -> _Deduplicated:
    """Find, by identity during tracing, residuals that are the same array, and outputs that are the next depth's x."""
    leaves, structure = jax.tree.flatten(residuals)
    numbered = {id(after): (i, x) for i, (x, after) in enumerate(zip(*map(jax.tree.leaves, (x, y)), strict=True))}
    needed = {id(leaf) for leaf in leaves}
    arrays, sources, places, shared = [], [], {}, {}
    for leaf in leaves:
        i, before = numbered.get(id(leaf), (None, None))
        is_next = before is not leaf and id(before) in needed
        array = before if is_next else leaf
        if id(array) not in places:
            places[id(array)] = len(arrays)
            arrays.append(array)
        sources.append((places[id(array)], is_next))
        if is_next:
            shared[i] = None
    return _Deduplicated(arrays, structure, tuple(sources), tuple(shared))


@jax.tree_util.register_pytree_node_class
class _NoGradient:
    """Stands for a float0 array, which a loop cannot carry."""

    def __init__(self, shape):
        self.shape = shape

    def tree_flatten(self):
        return (), self.shape

    @classmethod
    def tree_unflatten(cls, shape, _):
        return cls(shape)


def _hide(gradients):
    """Replace float0 arrays by `_NoGradient`."""
    return jax.tree.map(lambda d: _NoGradient(jnp.shape(d)) if d.dtype == jax.dtypes.float0 else d, gradients)


def _show(gradients):
    """Replace `_NoGradient` by float0 arrays."""
    is_hidden = lambda d: isinstance(d, _NoGradient)
    return jax.tree.map(lambda d: no_gradient(jnp.zeros(d.shape)) if is_hidden(d) else d, gradients, is_leaf=is_hidden)
