"""Functions with loops, branches, calls and custom rules."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

X = jnp.linspace(0.1, 1, 4)
W = jnp.array(0.7)


class Case:
    """A scalar function, and options of `reverse`; `oracle`: the same function in a form that JAX differentiates."""

    def __init__(self, function, *inputs, oracle=None, second=False, **options):
        self.function, self.inputs, self.options = function, inputs, options
        self.oracle, self.second = oracle or function, second
        self.argnums = tuple(range(len(inputs)))


# --- scan ------------------------------------------------------------------------------------------------------------


def scan(**options):
    def function(x, w):
        def step(h, x):
            return jnp.tanh(h * w + x), jnp.sin(h)

        h, ys = lax.scan(step, jnp.array(0.3), x, **options)
        return h + ys.sum()

    return function


def integers_and_keys(x):
    def step(carry, x):
        i, key, h = carry
        key, used = jax.random.split(key)
        return (i + 1, key, h * x + jax.random.normal(used) * i), (i, h)

    (i, _, h), (numbers, ys) = lax.scan(step, (0, jax.random.key(0), jnp.array(0.1)), x)
    return h * i + jnp.sum(ys * numbers)


def active_after_two_steps(x, w):
    """The carry c depends on w after two steps only."""
    step = lambda carry, x: ((carry[0] * x, carry[1] + carry[0], carry[2] + carry[1]), None)
    return lax.scan(step, (w, jnp.zeros(()), jnp.zeros(())), x)[0][2]


def pytrees(params):
    def step(carry, x):
        return {"a": carry["a"] * x["u"], "n": None}, {"y": x["v"][0] * carry["a"], "unused": carry["a"]}

    last, ys = lax.scan(step, {"a": params["w"], "n": None}, {"u": params["x"], "v": (params["x"],)})
    return last["a"] + ys["y"].sum()


def nested_scans(x):
    def outer(h, x):
        return lax.scan(lambda a, b: (jnp.sin(a * b) + h * x, None), h, x * jnp.arange(3.0))[0], None

    return lax.scan(outer, jnp.array(0.1), x)[0]


def scan_in_cond_in_scan(x):
    def inner(h, x):
        return lax.scan(lambda a, b: (lax.cond(a > b, jnp.sin, lambda a: a * b, a), None), h, jnp.stack([x, h]))[0]

    def step(h, x):
        return lax.cond(h > x, lambda h: inner(h, x), lambda h: h * x + 0.5, h), None

    return lax.scan(step, jnp.array(0.4), x)[0]


SCANS = {
    "scan": Case(scan(), X, W, second=True),
    "reverse": Case(scan(reverse=True), X, W),
    "unroll": Case(scan(unroll=2), X, W),
    "recompute": Case(scan(), X, W, second=True, recompute=True),
    "no scanned inputs": Case(lambda w: lax.scan(lambda h, _: (jnp.sin(h * w), None), w, None, length=3)[0], W),
    "no step": Case(lambda x, w: scan()(x[:0], w) + w, X, W),
    "integers and keys": Case(integers_and_keys, X),
    "active after two steps": Case(active_after_two_steps, X, W, second=True),
    "pytrees": Case(pytrees, {"x": X, "w": W}),
    "constants only": Case(lambda w: lax.scan(lambda i, _: (i + 1, jnp.sin(w) * i), 0, None, length=3)[1].sum(), W),
    "nested": Case(nested_scans, X, second=True),
    "in a branch in a loop": Case(scan_in_cond_in_scan, X),
    "in a branch in a loop, recompute": Case(scan_in_cond_in_scan, X, recompute=True),
    "fori_loop": Case(lambda w: lax.fori_loop(0, 5, lambda i, h: jnp.sin(h) * w + i, w), W),
}

# --- while -----------------------------------------------------------------------------------------------------------


def while_five(x):
    """Five iterations."""
    return lax.while_loop(lambda c: c[1] < 5, lambda c: (jnp.sin(c[0]) * x[1], c[1] + 1), (x[0], 0))[0]


def fori_five(x):
    return lax.fori_loop(0, 5, lambda i, h: jnp.sin(h) * x[1], x[0])


def while_under_vmap(x):
    return jax.vmap(lambda a: lax.while_loop(lambda c: c < 3, lambda c: c * 2 + a * 0.1, a))(x).sum()


def where_under_vmap(x):
    step = lambda a: lambda c, _: (jnp.where(c < 3, c * 2 + a * 0.1, c), None)
    return jax.vmap(lambda a: lax.scan(step(a), a, None, length=8)[0])(x).sum()


def while_in_scan(x):
    loop = lambda h, x: lax.while_loop(lambda c: c[1] < 3, lambda c: (jnp.sin(c[0] * x), c[1] + 1), (h, 0))[0]
    return lax.scan(lambda h, x: (loop(h, x), None), x[3], x)[0]


def fori_in_scan(x):
    return lax.scan(lambda h, x: (lax.fori_loop(0, 3, lambda i, c: jnp.sin(c * x), h), None), x[3], x)[0]


def while_inactive(x):
    """The differentiated argument does not influence the loop: no bound is needed."""
    return x.sum() * lax.while_loop(lambda c: c[1] < 5, lambda c: (jnp.sin(c[0]), c[1] + 1), (jnp.array(0.3), 0))[0]


WHILES = {
    "while": Case(while_five, X, oracle=fori_five, while_bound=7, second=True),
    "while, exact bound": Case(while_five, X, oracle=fori_five, while_bound=5),
    "while, recompute": Case(while_five, X, oracle=fori_five, while_bound=6, recompute=True),
    "while, active condition": Case(
        lambda x: lax.while_loop(lambda c: jnp.abs(c) > 0.2, lambda c: c * x[1], x[3]) * x[0], X,
        oracle=lambda x: x[3] * x[1] ** 2 * x[0], while_bound=4,
    ),
    "while under vmap": Case(while_under_vmap, X, oracle=where_under_vmap, while_bound=8),
    "while in scan": Case(while_in_scan, X, oracle=fori_in_scan, while_bound=3, second=True),
    "while, inactive": Case(while_inactive, X),
}  # fmt: skip

# --- cond and switch -------------------------------------------------------------------------------------------------


def switch(index):
    branches = [lambda y: jnp.sin(y) * y, lambda y: y.sum() * jnp.exp(y), lambda y: jnp.tanh(jnp.sin(y))]
    return lambda x: jnp.sum(lax.switch(index, branches, x))


def traced_switch(index):
    return lambda x: switch(jnp.where(x[0] > 0, index, 0))(x)


def keys_in_a_branch(x):
    def drawn(key):
        return jax.random.uniform(jax.random.split(key)[1]) * jnp.sin(x[1])

    return lax.cond(x[0] > 0, drawn, lambda key: x[0], jax.random.key((x[1] * 10).astype(int)))


BRANCHES = {
    "cond": Case(
        lambda x: jnp.sum(lax.cond(x[0] > 0.05, lambda y: jnp.tanh(y) * y, lambda y: y * y, x)), X, second=True
    ),
    **{f"switch {k}": Case(switch(k), X) for k in (-1, 1, 7)},
    **{f"traced switch {k}": Case(traced_switch(k), X) for k in (-1, 1, 7)},
    "cond, a constant branch": Case(lambda x: lax.cond(x[0] > 0, lambda: x.sum(), lambda: 1.0), X),
    "cond of integers": Case(lambda x: x.sum() * lax.cond(x[0] > 0, lambda: 1, lambda: 2), X),
    "cond, keys": Case(keys_in_a_branch, X),
    "platform": Case(lambda x: jnp.sum(lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos)), X),
    "other platforms": Case(
        lambda x: jnp.sum(lax.platform_dependent(x, tpu=jnp.sin, cuda=jnp.exp, default=jnp.cos)), X
    ),
}

# --- Calls and custom rules ------------------------------------------------------------------------------------------


@jax.custom_vjp
def with_vjp(x, y):
    return jnp.sin(x) * y


with_vjp.defvjp(lambda x, y: (with_vjp(x, y), (x, y)), lambda res, dz: (2 * dz * res[1], 3 * dz * res[0]))


@jax.custom_jvp
def with_jvp(x, y):
    return jnp.sin(x) * y


with_jvp.defjvp(lambda primals, tangents: (with_jvp(*primals), 5 * tangents[0] + 7 * tangents[1] * primals[0]))


def uses(function):
    return lambda x: jnp.sum(function(x, x * x) * x)


def activations(x):
    return jnp.sum(jax.nn.relu(x - 0.5) * jax.nn.softmax(x) + jax.nn.gelu(x)) + jax.nn.logsumexp(x)


def checkpointed(x, **options):
    layer = jax.checkpoint(lambda y: jnp.sin(checkpoint_name(jnp.outer(jnp.sin(y), y) @ y, "a")), **options)
    return jnp.sum(layer(layer(x)))


def cube_root(y):
    newton = lambda f, z: lax.fori_loop(0, 30, lambda i, z: z - f(z) / (3 * z**2), z)
    return lax.custom_root(lambda z: z**3 - y, jnp.array(1.0), newton, lambda g, b: b / g(1.0))


def conjugate_gradient(a, b):
    return jnp.sum(jnp.sin(jax.scipy.sparse.linalg.cg(lambda v: a @ (a.T @ v), b)[0]))


MATRIX = jnp.array([[3.0, 1.0], [0.5, 2.0]])
without_rule = uses(lambda x, y: jnp.sin(x) * y)
policies = jax.checkpoint_policies
CALLS = {
    "jit": Case(lambda x: jnp.sum(jax.jit(lambda y, k: jnp.sin(y) * k, static_argnums=1)(x, 2)), X),
    "checkpoint": Case(checkpointed, X),
    "checkpoint, dots saved": Case(functools.partial(checkpointed, policy=policies.dots_saveable), X, second=True),
    "checkpoint, a name saved": Case(functools.partial(checkpointed, policy=policies.save_only_these_names("a")), X),
    "checkpoint in scan": Case(
        lambda x: lax.scan(jax.checkpoint(lambda h, x: (jnp.tanh(h + jnp.sin(x * h)), None)), W, x)[0], X, second=True
    ),
    "scan in checkpoint, keys": Case(
        jax.checkpoint(lambda x: lax.scan(lambda h, x: (h * x + jax.random.normal(jax.random.key(0)), h), W, x)[0]), X
    ),
    "custom_vjp used": Case(uses(with_vjp), X),
    "custom_vjp opened": Case(uses(with_vjp), X, oracle=without_rule, custom_rules="open"),
    "custom_vjp in scan": Case(lambda x: lax.scan(lambda h, x: (with_vjp(h, x), None), x[0], x)[0], X),
    "custom_jvp used": Case(uses(with_jvp), X, second=True),
    "custom_jvp opened": Case(uses(with_jvp), X, oracle=without_rule, custom_rules="open"),
    "activations": Case(activations, X),
    "activations, opened": Case(activations, X, second=True, custom_rules="open_all"),
    "custom_root": Case(cube_root, jnp.array(2.0)),
    "solve": Case(lambda a, b: jnp.sum(jnp.sin(jnp.linalg.solve(a, b))), MATRIX, X[:2], second=True),
    "solve, several right sides": Case(lambda a, b: jnp.sum(jnp.sin(jnp.linalg.solve(a, b))), MATRIX, MATRIX + 1),
    "determinant": Case(lambda a: jnp.linalg.slogdet(a)[1] + jnp.linalg.det(a), MATRIX),
    "conjugate gradient": Case(conjugate_gradient, MATRIX, X[:2]),
    "a random key": Case(lambda x: jnp.sum(x * jax.random.normal(jax.random.key(0), x.shape)), X),
    "an unused argument": Case(lambda x, w: x.sum(), X, W),
    "a constant result": Case(lambda x: jnp.array(3.0), X),
    "None in a pytree": Case(lambda p: p["a"].sum(), {"a": X, "b": None}),
}

GROUPS = {"scans": SCANS, "whiles": WHILES, "branches": BRANCHES, "calls": CALLS}
