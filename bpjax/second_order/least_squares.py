"""Second-order training of small networks: Levenberg–Marquardt and Gauss–Newton, by optimistix and lineax.

With residuals r = t − o, one for each example and output, and their Jacobian J = ∂r/∂w, one column for each weight, the
error is E = ½ rᵀr and its gradient Jᵀr. JᵀJ is its curvature where r is nearly linear in w, and a step Δ solves

    Gauss–Newton             J Δ = −r                    in least squares; the shortest Δ if there are several
    Levenberg–Marquardt      (JᵀJ + λI) Δ = −Jᵀr         λ → 0 is Gauss–Newton, large λ a short step down the gradient

Levenberg 1944 introduced the damping λ. Marquardt 1963 adapts it: where E has not risen, accept the step and lower λ;
where it has risen, undo the step and raise λ. Nielsen 1999 gives the amounts, from ρ, the ratio of the decrease of E to
the decrease that J predicts:

    accepted    λ := λ max(⅓, 1 − (2ρ − 1)³)     ν := 2
    undone      λ := λ ν                         ν := 2ν

It takes fewer steps than Marquardt's factor of 10 on smooth fits and solves more starts than optimistix's own rule on
parity. Hagan & Menhaj 1994 applied the method to networks and computed the rows of J by backpropagation. So does this
file: each row is the hand-written backward pass of one output of one example.

Use it for networks of up to some hundreds of weights and batches of up to some hundreds of residuals: it takes tens of
steps where gradient descent takes thousands. A step costs a dense J and its factorization, O(residuals · weights²).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import check_batch, check_made_of
from bpjax.second_order.damping import nielsen, packages
from bpjax.second_order.result import (
    GOAL,
    JUMPED,
    LIMIT,
    NOT_FINITE,
    RUNNING,
    SETTLED,
    UNSOLVABLE,
    LeastSquares,
    Method,
    sentence,
)
from bpjax.types import Array, Batch, Params
from bpjax.util.checks import check_arguments, check_choice, check_count, check_number

PATIENCE = 10  # steps with hardly any decrease of the error, as towards a plateau at infinite weights


class Walk(NamedTuple):
    """A fit in progress: the carry of the loop, w the weights in one vector (P,)."""

    w: Array
    error: Array  # () ½ rᵀr there
    solver: object  # optimistix's state
    best: tuple[Array, Array, Array]  # w, ½ rᵀr and ‖Jᵀr‖ where the error was lowest
    improved: Array  # () bool: the best is not the start
    idle: Array  # () int32, consecutive accepted steps with hardly any decrease of the error
    steps: Array  # () int32; −1 before the start is measured
    end: Array  # () int32: RUNNING, or how it ended


def least_squares(
    network: Layer,
    loss: Loss,
    params: Params,
    batch: Batch,
    *,
    method: Method = "levenberg_marquardt",
    goal: float | None = None,
    max_steps: int = 100,
    damping: float = 0.01,
    rtol: float | None = None,
    atol: float | None = None,
) -> LeastSquares:
    """Minimize a squared error over the weights of a small network, in few expensive steps instead of many cheap ones.

    (JᵀJ + λI) Δ = −Jᵀr      r = t − o,  J = ∂r/∂w,  E = ½ rᵀr

    See `bpjax.second_order.least_squares` for the equations and their sources. Losses that differ from E by a factor
    have the same minimum and the same steps. One program is compiled for each network, method and set of shapes; the
    numeric arguments below do not recompile.

    A recipe that works: all examples in one batch, examples and targets of about 1, float64 (`with
    jax.enable_x64(True):`), Levenberg–Marquardt, a `goal`, and a few random starts, of which you take the first that
    converges. A start may end in a local minimum or on a plateau, which no method that follows J leaves; `reason` then
    says so. Gauss–Newton is for residuals that are nearly linear in the weights: it has no damping, and with sigmoids
    it jumps.

    Args:
        network: any network whose `params` are float32 or float64, up to some hundreds of weights.
        loss: `bp.squared_error`, `bp.mean_squared_error`, `bp.losses.batch_mean(bp.squared_error)` or your own
            ½ s Σ (t − o)².
        params: the initial weights, from `network.init`.
        batch: examples (N, ...) and targets, all used at every step.
        method: "levenberg_marquardt" or "gauss_newton".
        goal: stop as soon as E ≤ goal, in the units of the loss; a fit that comes to rest above it has stalled. Without
            a goal the fit continues until all residuals are 0 to within `atol` or nothing changes any more, and has
            converged wherever it comes to rest, unless the error there is no lower than at the start.
        max_steps: the most steps to try, including undone ones.
        damping: λ of the first step, for Levenberg–Marquardt only; Hagan & Menhaj use 0.01.
        rtol: at rest when no weight w and no residual r changed by more than atol + rtol |w|, atol + rtol |r|.
        atol: see `rtol`. Both default to ε^⅔ of the dtype: 4e-11 in float64, 2e-5 in float32.

    Raises:
        ValueError: a loss that is not a squared error, data or params that do not fit, an argument out of range.
        ModuleNotFoundError: optimistix is missing; the message names the extra to install.
    """
    who = "least_squares"
    check_choice(who, "method", method, get_args(Method))
    check_count(who, "max_steps", max_steps)
    for name, number in (("goal", goal), ("damping", damping), ("rtol", rtol), ("atol", atol)):
        if number is not None or name == "damping":
            check_number(who, name, number, above=0.0)
    check_made_of(who, network, loss)
    dtype = _dtype_of(params)
    packages()
    x, target = check_batch(who, backprop(network, loss), params, batch)
    scale = _scale(loss, jax.eval_shape(network.forward, params, x)[0].shape)

    rtol, atol = (float(jnp.finfo(dtype).eps ** (2 / 3)) if number is None else number for number in (rtol, atol))
    floor = 0.5 * target.size * atol**2 if goal is None else goal / scale
    numbers = {"floor": floor, "damping": damping, "rtol": rtol, "atol": atol}
    walk = _compiled(network, method)(
        jax.tree.map(jnp.asarray, params),
        (x, target.astype(dtype)),
        jnp.asarray(max_steps, jnp.int32),
        {name: jnp.asarray(number, dtype) for name, number in numbers.items()},
    )
    end, improved, steps = int(walk.end), bool(walk.improved), int(walk.steps)
    best, half_squares, slope = walk.best
    last, error, slope = (scale * float(number) for number in (walk.error, half_squares, slope))
    converged = end == GOAL or (end == SETTLED and goal is None and improved and not last > JUMPED * error)
    fit = LeastSquares(best, converged, "", steps, error, slope)
    return fit._replace(reason=sentence(fit, end, method, goal, improved, last))


@functools.lru_cache(maxsize=32)
def _compiled(network: Layer, method: Method) -> Callable:
    """(params, batch, max_steps, numbers) -> Walk at its end, with the weights in `best` as params; jitted."""
    optimistix, lineax, equinox = packages()

    @jax.custom_vjp
    def output(params, x):
        return network.forward(params, x)[0]

    def output_forward(params, x):
        o, saved = network.forward(params, x)
        return o, (params, saved)

    def output_backward(params_and_saved, do):
        params, saved = params_and_saved
        return network.backward(params, saved, do)[0], None

    output.defvjp(output_forward, output_backward)

    def make_solver(numbers):
        tolerances = numbers["rtol"], numbers["atol"]
        if method == "gauss_newton":
            solver = optimistix.GaussNewton(*tolerances, linear_solver=lineax.SVD())
            search = optimistix.LearningRate(jnp.ones_like(numbers["rtol"]))
        else:
            solver = optimistix.LevenbergMarquardt(*tolerances, linear_solver=lineax.QR())
            search = nielsen()(numbers["damping"])
        return equinox.tree_at(lambda s: s.search, solver, search)

    def solve(params, batch, max_steps, numbers):
        x, target = batch
        start, unravel = ravel_pytree(params)
        solver = make_solver(numbers)
        options, tags = {"jac": "bwd"}, frozenset()  # bwd: J row by row, by `output_backward`

        def residuals(w, args=None):
            return (target - output(unravel(w), x)).ravel(), None

        def measure(w):
            o, saved = network.forward(unravel(w), x)
            gradient, _ = network.backward(unravel(w), saved, o - target)
            return 0.5 * jnp.sum((o - target) ** 2), jnp.linalg.norm(ravel_pytree(gradient)[0])

        def step(walk):
            w, state, _ = solver.step(residuals, walk.w, None, options, walk.solver, tags)
            at_rest, result = solver.terminate(residuals, w, None, options, state, tags)
            error, slope = measure(w)
            steps = walk.steps + 1
            better = error < walk.best[1]
            accepted = jnp.any(w != walk.w)
            fell = error < (1 - numbers["rtol"]) * walk.error
            idle = jnp.where(fell, 0, walk.idle + accepted.astype(jnp.int32))
            exhausted = result == optimistix.RESULTS.nonlinear_divergence  # from Nielsen's rule
            conditions = {
                NOT_FINITE: ~jnp.isfinite(error),
                GOAL: error <= numbers["floor"],
                SETTLED: at_rest | exhausted | (idle >= PATIENCE),
                UNSOLVABLE: result != optimistix.RESULTS.successful,
                LIMIT: steps >= max_steps,
            }
            end = jnp.select(list(conditions.values()), [jnp.int32(end) for end in conditions], jnp.int32(RUNNING))
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), (w, error, slope), walk.best)
            return Walk(w, error, state, best, walk.improved | (better & (steps > 0)), idle, steps, end)

        structure, _ = jax.eval_shape(residuals, start)
        state = solver.init(residuals, start, None, options, structure, None, tags)
        unknown = jnp.full((), jnp.inf, start.dtype)
        best, no, zero = (start, unknown, unknown), jnp.asarray(False), jnp.int32(0)
        walk = Walk(start, unknown, state, best, no, zero, zero - 1, zero + RUNNING)
        walk = jax.lax.while_loop(lambda walk: walk.end == RUNNING, step, walk)
        return walk._replace(solver=(), best=(unravel(walk.best[0]), *walk.best[1:]))

    return jax.jit(solve)


def _dtype_of(params: Params):
    """The one dtype of all weights, float32 or float64, or a `ValueError`."""
    check_arguments("least_squares", params, "`params`")
    dtypes = {str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(params)}
    if len(dtypes) == 1 and dtypes <= {"float32", "float64"}:
        return jnp.dtype(dtypes.pop())
    raise ValueError(
        f"`least_squares` expected params all float32 or all float64, got {', '.join(sorted(dtypes)) or 'no weights'}. "
        "Cast them: `bp.util.cast(params, 'float32')`."
    )


@functools.lru_cache(maxsize=256)
def _scale(loss: Loss, shape: tuple[int, ...]) -> float:
    """The s of a loss that is ½ s Σ (t − o)² for outputs of this shape, found by evaluation, or a `ValueError`."""
    dtype = jnp.result_type(float)
    signs = np.where(np.arange(np.prod(shape)) % 2, -1.0, 1.0).reshape(shape)
    scales = []
    for size, target in ((1e-2, 0.0), (1.0, 0.5), (1.0, 1.0), (1e6, 0.0)):
        t = jnp.full(shape, target, dtype)
        o = jnp.asarray(target + size * signs, dtype)
        d = np.asarray(o - t, np.float64)
        scales += [*(np.asarray(loss.gradient(o, t), np.float64) / d).ravel(), 2 * loss.value(o, t) / np.sum(d**2)]
    if not np.allclose(scales, scales[0], rtol=1e-3, atol=0.0) or not scales[0] > 0:
        raise ValueError(
            f"`least_squares` expected a squared error, ½ Σ (t − o)² or a multiple of it, got `{loss.name}`. "
            "Use `bp.squared_error` or `bp.mean_squared_error`, or train with `bp.fit`."
        )
    return float(scales[-1])
