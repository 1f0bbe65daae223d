"""The contract of a recurrent cell: one time step of a dynamic system and its derivative."""

from typing import Any, NamedTuple, Protocol

from bpjax.layers.layer import Init, Kind, Parts, call_repr
from bpjax.types import Array, Params, Residuals


def _inputs_unchanged(params, x):
    return x


def _params_unchanged(params):
    return params


class Step(Protocol):
    """One time step of a cell."""

    def __call__(self, params: Params, state: Any, driven: Any, /) -> tuple[Any, Any, Residuals]:
        """(state, y, residuals)."""
        ...


class BackParams(Protocol):
    """The weights in the form in which the backward pass of a step reads them."""

    def __call__(self, params: Params, /) -> Any:
        """The first argument of `back`."""
        ...


class StepBackward(Protocol):
    """The backward pass of one time step."""

    def __call__(self, back_params: Any, residuals: Residuals, dstate: Any, dy: Any, /) -> tuple[Any, Any]:
        """(dstate, delta)."""
        ...


class Inputs(Protocol):
    """The contribution of the inputs of all times."""

    def __call__(self, params: Params, x: Array, /) -> Any:
        """The array or pytree (T, N, ...) that `step` receives, a time at a time."""
        ...


class GradientOverTime(Protocol):
    """The gradients of all times, from their error signals."""

    def __call__(self, params: Params, x: Array, residuals: Residuals, delta: Any, /) -> tuple[Params, Array]:
        """(dparams, dx (T, N, D))."""
        ...


class Cell(NamedTuple):
    """One time step of a dynamic system and its derivative, sₜ₊₁, yₜ = f(sₜ, xₜ); `unroll` makes a `Layer` of it.

    The state is a pytree of arrays (N, ...) in the dtype of x. As in a layer, `residuals` hold no parameters, and
    `back` and `gradient` read weights only from the `params` they receive.

    A new cell needs `init`, `step` and `back`, where `back` returns `(dparams, dx)` of the step as `delta`; `unroll`
    sums the dparams. `inputs`, `gradient` and `back_params` make a cell fast: they compute for all times at once what
    does not depend on the state.
    """

    name: str
    state_shape: Any
    """Shape of the state without the batch axis, or a pytree of shapes."""
    init: Init
    """(key, (D,)) -> (params, out_shape)."""
    step: Step
    """(params, state, driven) -> (state, y, residuals), at one time; driven is x (N, D) at that time, or the output of
    `inputs`."""
    back: StepBackward
    """(back_params, residuals, dstate, dy) -> (dstate, delta), at one time: from the cotangent of the new state to that
    of the old one. `back_params` is params itself, or the output of the field of that name. `delta` is the error signal
    for `gradient`, else `(dparams, dx)` of the step."""
    inputs: Inputs = _inputs_unchanged
    """(params, x (T, N, D)) -> driven (T, N, ...), before the first step."""
    gradient: GradientOverTime | None = None
    """(params, x, residuals, delta), each (T, N, ...) -> (dparams, dx (T, N, D)), after the backward sweep: the
    gradient of a weight is one matrix product over all times."""
    back_params: BackParams = _params_unchanged
    """(params) -> what `back` reads of them, computed once before the backward sweep: transposed matrices."""
    kind: Kind = Kind.LEAF
    """The kind of the layer that `unroll` makes of the cell."""
    parts: Parts | None = None
    """The layers that the cell is made of, if any."""
    arguments: str | None = None
    """For `repr`, as in a layer."""
    settings: Any = None
    """As in a layer."""

    def __repr__(self) -> str:
        """The call that makes the cell: `lstm(128)`."""
        return call_repr(self)
