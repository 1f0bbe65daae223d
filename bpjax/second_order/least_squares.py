"""Second order for small networks: Levenberg–Marquardt and Gauss–Newton, by optimistix and lineax.

With residuals r = t − o, one for each example and output, and their Jacobian J = ∂r/∂w, one column for each weight, the
error is E = ½ rᵀr and its gradient Jᵀr. JᵀJ is its curvature where r is nearly linear in w, and a step Δ solves

    Gauss–Newton             J Δ = −r                    in least squares, the shortest Δ where there are many
    Levenberg–Marquardt      (JᵀJ + λI) Δ = −Jᵀr         λ → 0 is Gauss–Newton, large λ a short step down the gradient

Levenberg 1944 gave the damping λ; Marquardt 1963 its principle: where E has not risen keep the step and lower λ, where
it has take the step back and raise λ. By how much is Nielsen's rule of 1999, from ρ, the fall of E over the fall that
J foretold:

    kept          λ := λ max(⅓, 1 − (2ρ − 1)³)     ν := 2
    taken back    λ := λ ν                         ν := 2ν

It asks for fewer steps than Marquardt's factor of 10 on smooth fits and solves more starts than optimistix's own
rule on parity. Hagan & Menhaj 1994 brought the method to networks, with the rows of J by backpropagation, as here:
each is the hand-written backward pass of one output of one pattern.

The method of choice for a net of up to some hundreds of weights and a batch of up to some hundreds of residuals: tens
of steps where gradient descent takes thousands. A step costs a dense J and its factorization, O(residuals · weights²).
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
from bpjax.util.checks import check_choice, check_count, check_number

PATIENCE = 10  # steps without a fall of the error to speak of: towards a plateau that lies at infinite weights


class Walk(NamedTuple):
    """A fit under way: the carry of the loop, w the weights in one vector (P,)."""

    w: Array
    error: Array  # () ½ rᵀr there
    solver: object  # optimistix's state
    best: tuple[Array, Array, Array]  # w, ½ rᵀr and ‖Jᵀr‖ where the error was lowest
    improved: Array  # () bool: the best is not the start
    idle: Array  # () int32, steps in a row that were kept though the error hardly fell
    steps: Array  # () int32; −1 before the start is measured
    end: Array  # () int32: RUNNING, or why not


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
    """Minimise a squared error over the weights of a small network, a few expensive steps instead of many cheap ones.

    (JᵀJ + λI) Δ = −Jᵀr      r = t − o,  J = ∂r/∂w,  E = ½ rᵀr

    See `bpjax.second_order.least_squares` for the equations and their sources. Losses that differ from E by a factor
    have the same minimum and get the same steps. One program is compiled for each network, method and set of shapes;
    the numbers below are data.

    A recipe that works: all examples in one batch, examples and targets of about 1, float64 (`with
    jax.enable_x64(True):`), Levenberg–Marquardt, a `goal`, and a few random starts, of which the first to converge is
    taken. Any one start may end in a local minimum or on a plateau, which no method that follows J leaves; `reason`
    then says so. Gauss–Newton is for residuals that are nearly linear in the weights: it has no damping, and
    sigmoids make it jump.

    Args:
        network: any network whose `params` are float32 or float64, up to some hundreds of weights.
        loss: `bp.squared_error`, `bp.mean_squared_error`, `bp.losses.batch_mean(bp.squared_error)` or your own
            ½ s Σ (t − o)².
        params: where to begin, from `network.init`.
        batch: examples (N, ...) and targets, all used at every step.
        method: "levenberg_marquardt" or "gauss_newton".
        goal: stop as soon as E ≤ goal, in the units of the loss; come to rest above it and the fit has stalled. Without
            one it goes on until all residuals are 0 to within `atol` or nothing changes any more, and wherever it
            comes to rest counts as converged, unless that is no better than the start.
        max_steps: steps to try at most, those taken back included.
        damping: λ of the first step, of Levenberg–Marquardt alone; 0.01 is Hagan & Menhaj's.
        rtol: at rest when no weight w and no residual r changed by more than atol + rtol |w|, atol + rtol |r|.
        atol: as above. Both are ε^⅔ of the dtype if not given: 4e-11 in float64, 2e-5 in float32.

    Raises:
        ValueError: a loss that is no squared error, data or params that do not fit, numbers out of range.
        ModuleNotFoundError: optimistix is missing; the message names the extra to install.
    """
    who = "least_squares"
    check_choice(who, "method", method, get_args(Method))
    check_count(who, "max_steps", max_steps)
    for name, number in (("goal", goal), ("damping", damping), ("rtol", rtol), ("atol", atol)):
        if number is not None:
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
    """(params, batch, max_steps, numbers) -> Walk at its end, `best` with the weights as params; jitted."""
    optimistix, lineax, equinox = packages()

    @jax.custom_vjp
    def output(params, x):
        return network.forward(params, x)[0]

    def output_forward(params, x):
        o, kept = network.forward(params, x)
        return o, (params, kept)

    def output_backward(saved, do):
        params, kept = saved
        return network.backward(params, kept, do)[0], None

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
        options, tags = {"jac": "bwd"}, frozenset()  # bwd: J a row at a time by `output_backward`

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
            kept = jnp.any(w != walk.w)
            fell = error < (1 - numbers["rtol"]) * walk.error
            idle = jnp.where(fell, 0, walk.idle + kept.astype(jnp.int32))
            exhausted = result == optimistix.RESULTS.nonlinear_divergence  # said by Nielsen's rule below
            fates = {
                NOT_FINITE: ~jnp.isfinite(error),
                GOAL: error <= numbers["floor"],
                SETTLED: at_rest | exhausted | (idle >= PATIENCE),
                UNSOLVABLE: result != optimistix.RESULTS.successful,
                LIMIT: steps >= max_steps,
            }
            end = jnp.select(list(fates.values()), [jnp.int32(fate) for fate in fates], jnp.int32(RUNNING))
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
    dtypes = {str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(params)}
    if len(dtypes) == 1 and dtypes <= {"float32", "float64"}:
        return jnp.dtype(dtypes.pop())
    raise ValueError(
        f"`least_squares` expected params all float32 or all float64, got {', '.join(sorted(dtypes)) or 'no weights'}. "
        "Cast them: `bp.util.cast(params, 'float32')`."
    )


@functools.lru_cache(maxsize=256)
def _scale(loss: Loss, shape: tuple[int, ...]) -> float:
    """The s of a loss that is ½ s Σ (t − o)² for outputs of this shape, found by asking it, or a `ValueError`."""
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
