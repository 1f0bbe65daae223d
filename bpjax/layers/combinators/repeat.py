"""A layer many times over, each time with weights of its own: deep networks that compile as fast as shallow ones."""

import jax
import jax.numpy as jnp

from bpjax.layers.combinators.chain import check_unchanged
from bpjax.layers.layer import EMPTY, Kind, Layer, Parts, check_layer, no_gradient
from bpjax.types import Params
from bpjax.util.checks import check_count, other_params


def repeat(layer: Layer, n: int) -> Layer:
    """`chain(*[layer] * n)` as one loop: n copies one after another, each with its own weights, compiled once.

    forward    x₀ = x,     xₗ₊₁ = f(wₗ, xₗ),         y = xₙ           for l = 0 … n−1
    backward   dxₙ = dy,   dxₗ = (∂f/∂x)ᵀ dxₗ₊₁      for l = n−1 … 0

    The params are the layer's with a leading axis of n; `unstack` gives those of the chain. Initial params are drawn
    apart for each depth. Kept: what the layer keeps, stacked over depth, but each array once. What goes out of one
    depth goes into the next: a layer that keeps both its x and its y, as `chain(dense(H), tanh)` does, has only its
    x stacked, and the last y. A dropout inside draws another mask at each depth.

    Raises:
        ValueError: `layer` is not a Layer, `n` not a positive integer; in `init`, the layer changes the shape;
            in `forward`, params that have not n entries along their first axis.
    """
    check_layer("repeat", layer)
    check_count("repeat", "n", n)
    n = int(n)

    def init(key, in_shape):
        shapes = []

        def init_one(key):
            params, out_shape = layer.init(key, in_shape)
            shapes.append(out_shape)
            return params

        params = jax.vmap(init_one)(jax.random.split(key, n))
        check_unchanged("repeat", layer, tuple(in_shape), shapes[0])
        return params, shapes[0]

    def forward(params, x, context=EMPTY):
        check_depth(params)

        def step(x, depth):
            params, key = depth
            y, residuals = layer.forward_in(context._replace(key=key), params, x)
            return y, _each_once(residuals, x, y)

        keys = None if context.key is None else jax.vmap(lambda l: context.for_part(l).key)(jnp.arange(n))
        y, kept = jax.lax.scan(step, x, (params, keys), length=n)
        return y, (kept, tuple(jax.tree.leaves(y)[i] for i in kept.passed_on))

    def step_back(carry, depth):
        dy, after = carry
        params, kept = depth
        dparams, dx = layer.backward(params, kept.residuals(after), _show(dy))
        return (_hide(dx), kept.before), dparams

    def backward(params, residuals, dy):
        check_depth(params)
        kept, last = residuals
        (dx, _), dparams = jax.lax.scan(step_back, (_hide(dy), last), (params, kept), length=n, reverse=True)
        return dparams, _show(dx)

    def check_depth(params):
        for leaf in jax.tree.leaves(params):
            if jnp.ndim(leaf) == 0 or len(leaf) != n:
                raise other_params(f"`repeat(…, {n})`", f"with a first axis of {n}", params)

    parts = Parts((layer,), lambda layer: repeat(layer, n))
    return Layer("repeat", init, forward, backward, Kind.COMBINATOR, parts, f"{{parts}}, {n}", layer.uses)


def unstack(params: Params, n: int) -> tuple[Params, ...]:
    """The params of `chain(*[layer] * n)`, from those of `repeat(layer, n)`."""
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(n))


@jax.tree_util.register_pytree_node_class
class _Kept:
    """A layer's residuals with no array twice: `arrays`, and how the residuals are put together from them.

    Each source is the place of a residual in `arrays`, and whether it is that of the next depth. `passed_on` says
    which leaves of x are among those asked for by the depth before.
    """

    def __init__(self, arrays, structure, sources, passed_on):
        self.arrays, self.structure, self.sources, self.passed_on = tuple(arrays), structure, sources, passed_on

    def tree_flatten(self):
        return self.arrays, (self.structure, self.sources, self.passed_on)

    @classmethod
    def tree_unflatten(cls, how, arrays):
        return cls(arrays, *how)

    @property
    def _next_places(self):
        return tuple(dict.fromkeys(place for place, is_next in self.sources if is_next))

    @property
    def before(self):
        """What the depth before must be handed as its `after`."""
        return tuple(self.arrays[place] for place in self._next_places)

    def residuals(self, after):
        """The layer's own residuals, given the arrays of the depth after this one."""
        later = dict(zip(self._next_places, after, strict=True))
        return self.structure.unflatten([later[p] if is_next else self.arrays[p] for p, is_next in self.sources])


def _each_once(residuals, x, y) -> _Kept:
    """Found by identity while JAX traces: residuals that are one array, or the y that is the next depth's x."""
    leaves, structure = jax.tree.flatten(residuals)
    numbered = {id(after): (i, x) for i, (x, after) in enumerate(zip(*map(jax.tree.leaves, (x, y)), strict=True))}
    asked_for = {id(leaf) for leaf in leaves}
    arrays, sources, places, passed_on = [], [], {}, {}
    for leaf in leaves:
        i, before = numbered.get(id(leaf), (None, None))
        is_next = before is not leaf and id(before) in asked_for
        array = before if is_next else leaf
        if id(array) not in places:
            places[id(array)] = len(arrays)
            arrays.append(array)
        sources.append((places[id(array)], is_next))
        if is_next:
            passed_on[i] = None
    return _Kept(arrays, structure, tuple(sources), tuple(passed_on))


@jax.tree_util.register_pytree_node_class
class _Without:
    """In place of a float0, which a loop cannot carry."""

    def __init__(self, shape):
        self.shape = shape

    def tree_flatten(self):
        return (), self.shape

    @classmethod
    def tree_unflatten(cls, shape, _):
        return cls(shape)


def _hide(gradients):
    """The pytree without its float0."""
    return jax.tree.map(lambda d: _Without(jnp.shape(d)) if d.dtype == jax.dtypes.float0 else d, gradients)


def _show(gradients):
    """The pytree with its float0 again."""
    is_hidden = lambda d: isinstance(d, _Without)
    return jax.tree.map(lambda d: no_gradient(jnp.zeros(d.shape)) if is_hidden(d) else d, gradients, is_leaf=is_hidden)
