"""The curvature of the error surface, from Hessian-vector products."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bpjax.rules.rule import Rule, check_batch, check_rule
from bpjax.training.inputs import as_params
from bpjax.types import Array, Key, Params
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_key, check_like, check_real
from bpjax.util.precision import widen
from bpjax.util.sequential_under_vmap import sequential_under_vmap
from bpjax.util.trees import described


class Curvature(NamedTuple):
    """An eigenvalue of the Hessian with its eigenvector; C of them with a leading axis (C,) on every leaf."""

    value: Array  # () λ; where it is below 0 the error decreases in both directions of v: a saddle
    direction: Params  # v, the structure of the params, ‖v‖ = 1; its sign is arbitrary
    residual: Array  # () ‖H v − λ v‖: some eigenvalue is within this distance of λ

    def __repr__(self) -> str:
        return f"Curvature(value={self.value}, direction={described(self.direction)}, residual={self.residual})"


class Extremes(NamedTuple):
    """Both ends of the Hessian's spectrum, C eigenvalues each."""

    smallest: Curvature  # ascending
    largest: Curvature  # descending


def hessian_vector_product(rule: Rule, params, batch, rule_state=()) -> Callable:
    """V -> H v, H the Hessian of the error at `params`: the derivative of the rule's gradient along v.

    The rule must compute the exact gradient.

    Args:
        rule: `backprop` or `autodiff`.
        params: where the Hessian is taken.
        batch: (x, target).
        rule_state: of the rule.

    Returns:
        A function of v, a pytree of the structure of `params`.

    Raises:
        ValueError: no rule, or params, a batch or a state that are not its own.
    """
    who = "hessian_vector_product"
    params, batch = check_place(who, rule, params, batch)
    expected = jax.tree.structure(jax.eval_shape(rule.init, jax.random.key(0), params))
    if jax.tree.structure(rule_state) != expected:
        raise ValueError(
            f"`{who}` expected `rule_state` of the structure {shown(expected)}, got {shown(rule_state)}. "
            "Make it: `rule.init(key, params)`."
        )

    def gradient(params):
        return rule.grads(params, rule_state, batch)[1]

    def product(v):
        check_like(who, "v", v, "params", params)
        return jax.jvp(gradient, (params,), (v,))[1]

    return product


def check_place(who: str, rule: Rule, params, batch, *key):
    """(params, batch) as arrays that fit the rule, at which the Hessian exists, or a `ValueError`."""
    check_rule(who, rule)
    for one in key:
        check_key(who, "key", one)
    params = as_params(who, params)
    if not jax.tree.leaves(params):
        raise ValueError(f"`{who}` expected `params` with at least one array, got {shown(params)}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            where = jax.tree_util.keystr(path)
            raise ValueError(f"`{who}` expected `params{where}` of a floating-point type, got {shown(leaf)}.")
    return params, check_batch(who, rule, params, batch)


def largest_curvature(rule: Rule, params, batch, key, steps: int = 24) -> Array:
    """λ_max, the largest eigenvalue of the Hessian of the error, a scalar; works under jit and vmap.

    Gradient descent on a quadratic with this curvature converges for learning rates below 2/λ_max and diverges
    above it. Computed by Lanczos iterations with full reorthogonalisation from a random direction: exact where there
    are no more parameters than steps, otherwise a lower bound.

    Args:
        rule: computes the exact gradient.
        params: where the Hessian is taken.
        batch: (x, target).
        key: for the random direction.
        steps: Lanczos iterations.

    Raises:
        ValueError: `steps` is not a positive integer; the rule, params and batch do not fit; not one key.
    """
    check_count("largest_curvature", "steps", steps)
    params, batch = check_place("largest_curvature", rule, params, batch, key)
    flat, unravel = ravel_pytree(params)
    return largest_eigenvalue(_flat(hessian_vector_product(rule, params, batch), unravel), flat, key, steps)


def steepest_direction(rule: Rule, params: Params, batch, key: Key, steps: int = 24) -> Curvature:
    """λ_max with its eigenvector v: the direction along which the error surface is curved most.

    Where η λ_max is near 2, gradient descent oscillates along v: (w(t) − w*)·v changes its sign at every step. Computed
    by Lanczos iterations as in `largest_curvature`; the residual says how well they have converged.

    Args:
        rule: computes the exact gradient.
        params: where the Hessian is taken.
        batch: (x, target).
        key: for the random direction.
        steps: Lanczos iterations.

    Raises:
        ValueError: `steps` is not a positive integer; the rule, params and batch do not fit; not one key.
    """
    check_count("steepest_direction", "steps", steps)
    params, batch = check_place("steepest_direction", rule, params, batch, key)
    largest = extreme_curvatures(rule, params, batch, key, count=1, steps=steps).largest
    return jax.tree.map(lambda leaf: leaf[0], largest)


def extreme_curvatures(rule: Rule, params: Params, batch, key: Key, count: int = 1, steps: int = 48) -> Extremes:
    """The `count` smallest and largest eigenvalues of the Hessian with their eigenvectors; works under jit and vmap.

    A negative one is a direction of descent from a saddle. Computed by Lanczos iterations: exact, repeated eigenvalues
    included, where there are no more parameters than steps. Otherwise the results lie within the spectrum, and those at
    its ends converge first.

    Args:
        rule: computes the exact gradient.
        params: where the Hessian is taken.
        batch: (x, target).
        key: for the random directions.
        count: eigenvalues at each end.
        steps: Lanczos iterations.

    Raises:
        ValueError: `count` or `steps` is not a positive integer, or `count` exceeds `steps` or the number
            of parameters; the rule, params and batch do not fit; not one key.
    """
    who = "extreme_curvatures"
    check_count(who, "count", count)
    check_count(who, "steps", steps)
    params, batch = check_place(who, rule, params, batch, key)
    flat, unravel = ravel_pytree(params)
    steps = min(steps, flat.size)
    if count > steps:
        raise ValueError(f"`{who}` expected `count` ≤ {steps}, the number of steps or of parameters, got {count}.")
    product = _flat(hessian_vector_product(rule, params, batch), unravel)
    basis, alphas, betas = _lanczos(product, flat, key, steps, restarts=True)
    values, vectors = _eigenvectors(_tridiagonal(alphas, betas))

    def at(which):
        directions = vectors[:, which].T @ basis
        directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
        return Curvature(values[which], jax.vmap(unravel)(directions), betas[-1] * jnp.abs(vectors[-1, which]))

    return Extremes(at(jnp.arange(count)), at(steps - 1 - jnp.arange(count)))


def share_along(gradient: Params, direction: Params) -> Array:
    """(g·v)² / ‖g‖²‖v‖², from 0 to 1: the share of the squared gradient along `direction`; 0 where either is 0.

    For a random direction in n dimensions its mean is 1/n. Both have the structure of the params.

    Raises:
        ValueError: they differ in structure or shapes, or are no real numbers.
    """
    for name, tree in (("gradient", gradient), ("direction", direction)):
        check_real("share_along", name, tree)
    check_like("share_along", "direction", direction, "gradient", gradient)
    if not jax.tree.leaves(gradient):
        raise ValueError(f"`share_along` expected `gradient` with at least one array, got {shown(gradient)}.")
    g, v = (ravel_pytree(jax.tree.map(lambda a: widen(jnp.asarray(a)), tree))[0] for tree in (gradient, direction))
    norms = (g @ g) * (v @ v)
    return jnp.where(norms > 0, (g @ v) ** 2 / jnp.where(norms > 0, norms, 1.0), 0.0)


def largest_eigenvalue(product: Callable, like: Array, key: Key, steps: int) -> Array:
    """The largest eigenvalue of a symmetric matrix, given as v -> A v, by Lanczos iterations from a random direction.

    Args:
        product: v (n,) -> A v (n,).
        like: an array (n,) of the dtype to compute in.
        key: for the random direction.
        steps: Lanczos iterations.
    """
    _, alphas, betas = _lanczos(product, like, key, min(steps, like.size), restarts=False)
    return _eigenvalues(_tridiagonal(alphas, betas))[-1]


def _flat(product: Callable, unravel: Callable) -> Callable:
    return lambda q: ravel_pytree(product(unravel(q)))[0]


_eigenvalues = sequential_under_vmap(jnp.linalg.eigvalsh)
_eigenvectors = sequential_under_vmap(jnp.linalg.eigh)


def _tridiagonal(alphas, betas):
    return jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)


def _lanczos(product: Callable, flat, key, steps: int, restarts: bool):
    """(basis (steps, n), alphas, betas (steps,)): H in the Krylov space of a random direction, fully reorthogonalised.

    If the space is exhausted earlier, the rest is padding that adds no new extreme eigenvalue. With `restarts` the
    iteration continues from another random direction instead, so that repeated eigenvalues are found with their
    multiplicity.
    """
    start = jax.random.normal(key, flat.shape, flat.dtype)

    def orthogonal(r, basis):
        for _ in range(2):  # after one pass rounding errors still destroy orthogonality
            r = r - basis.T @ (basis @ r)
        return r

    def iterate(k, carry):
        basis, alphas, betas, q = carry
        basis = basis.at[k].set(q)
        r = product(q)
        alphas = alphas.at[k].set(jnp.where(q.any(), q @ r, alphas[0]))  # padding: no new extreme
        r = orthogonal(r, basis)
        beta = jnp.linalg.norm(r)
        scale = jnp.maximum(jnp.abs(alphas).max(), betas.max())
        spent = beta <= 10 * jnp.finfo(flat.dtype).eps * scale  # the Krylov space is exhausted: H maps it to itself
        betas = betas.at[k].set(jnp.where(spent, 0.0, beta))
        other = jnp.zeros_like(q)
        if restarts:
            other = orthogonal(jax.random.normal(jax.random.fold_in(key, k), flat.shape, flat.dtype), basis)
            other = other / jnp.maximum(jnp.linalg.norm(other), jnp.finfo(flat.dtype).tiny)
        return basis, alphas, betas, jnp.where(spent, other, r / jnp.where(spent, 1.0, beta))

    zeros = jnp.zeros(steps, flat.dtype)
    carry = (jnp.zeros((steps, flat.size), flat.dtype), zeros, zeros, start / jnp.linalg.norm(start))
    basis, alphas, betas, _ = jax.lax.fori_loop(0, steps, iterate, carry)
    return basis, alphas, betas
