"""The result of a least-squares fit, and the sentence that explains it."""

from typing import Literal, NamedTuple

from bpjax.types import Params

Method = Literal["levenberg_marquardt", "gauss_newton"]
RUNNING, GOAL, SETTLED, NOT_FINITE, UNSOLVABLE, LIMIT = range(6)
JUMPED = 1.001  # Gauss–Newton ended above the best error on its way by more than this factor
STEEP = 1e-6  # not a stationary point where the gradient norm exceeds this share of the error


class LeastSquares(NamedTuple):
    """The result of a least-squares fit."""

    params: Params  # the best weights found
    converged: bool  # reached the goal; without a goal, came to rest at a lower error than at the start
    reason: str  # a sentence that begins with "converged" or with "stalled" and then says what to try
    steps: int  # steps tried, including undone ones
    error: float  # of `params`, in the units of the loss
    gradient_norm: float  # of `params`, Euclidean, in the units of the loss

    def __repr__(self) -> str:
        return f"LeastSquares({self.reason!r})"


def sentence(f: LeastSquares, end: int, method: Method, goal: float | None, improved: bool, last: float) -> str:
    """How the fit ended and, where it stalled, what to try.

    Args:
        f: the fit, with `error` the lowest error found.
        end: how it ended, GOAL to LIMIT.
        method: of the fit.
        goal: of the fit.
        improved: whether the best weights are not those at the start.
        last: the error where it ended.
    """
    after = f"after {f.steps} step{'s' * (f.steps != 1)}"
    above = f"an error of {f.error:.3g}" + ("" if goal is None else f", above the goal of {goal:.3g}")
    slope = f"the gradient norm is {f.gradient_norm:.2g}"
    restart = "another start (another key for `network.init`)"
    damped = "Levenberg–Marquardt (`method='levenberg_marquardt'`)"
    undamped = method == "gauss_newton"
    if end == GOAL:
        aim = "every residual is 0 to within `atol`" if goal is None else f"the goal was {goal:.3g}"
        return f"converged {after}: the error is {f.error:.3g}; {aim}."
    if f.converged:
        return f"converged {after}: at rest at {above}; {slope}."
    if end == SETTLED and last > JUMPED * f.error:
        return (
            f"stalled {after}: the steps, undamped, led to an error of {last:.3g} where nothing changes any more; "
            f"the best on the way had {above}. Try {damped} or {restart}."
        )
    if end == SETTLED and not improved and f.gradient_norm > STEEP * f.error:
        cure = "examples and targets scaled to about 1, float64, or `bp.compare`: the network's backward may be wrong"
        return f"stalled {after} at the start: no step lowers {above}, yet {slope}. Try {cure}."
    if end == SETTLED:
        where = f"{after} in a local minimum or on a plateau" if improved else "at the start, a stationary point"
        return f"stalled {where}: no step lowers {above}; {slope}. Try {restart}, or more hidden units."
    if end == LIMIT:
        cures = [damped] * undamped + ["a `goal`"] * (goal is None) + [restart]
        return f"stalled {after}, the limit, at {above}; {slope}. Try more `max_steps`, {' or '.join(cures)}."
    what = "the error is not finite" if end == NOT_FINITE else "the linear system for the step has no finite solution"
    best = f"; the best on the way had {above}" if improved else ""
    cure = damped if undamped and improved else "smaller weights at the start, float64 or a larger `damping`"
    return f"stalled {after}: {what}{best}. Try {cure}."
