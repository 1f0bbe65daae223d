"""Short-term plasticity: synapses whose transmission depends on the spikes of the last second (Tsodyks & Markram)."""

from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp

from bpjax.layers.layer import check_in_shape
from bpjax.layers.params import check_params
from bpjax.layers.recurrent.cell import Cell
from bpjax.types import Array
from bpjax.util.call_text import call_text
from bpjax.util.checks import check_choice, check_count, check_number, check_same_dtype
from bpjax.util.precision import widen

Facilitation = Literal["before", "after", "before, from rest"]


class ShortTerm(NamedTuple):
    """The parameters of D synapses; the logarithms keep the time constants positive."""

    use: Array  # (D,) U, between 0 and 1
    log_recovery: Array  # (D,) ln τ_d, of the resources
    log_facilitation: Array  # (D,) ln τ_f, of the utilization


class ShortTermState(NamedTuple):
    """What the last spikes left, (N, D); both are 0 at rest."""

    facilitation: Any  # u − its value at rest
    depletion: Any  # 1 − x


def tsodyks_markram(
    features: int,
    use: float = 0.5,
    recovery: float = 800.0,
    facilitation: float = 20.0,
    dt: float = 1.0,
    order: Facilitation = "before",
) -> Cell:
    """Synapses with resources x and utilization u, spikes s (N, D) to the released resources y (N, D); for `unroll`.

    forward    between spikes   x → 1 with the time constant τ_d,   u → its rest with τ_f      exact for any dt
               at a spike       u⁺ = u + U (1 − u) s,   y = v x s,   x⁺ = x − y

        order                 released v    rest of u
        "before"              u⁺            0           Tsodyks, Pawelzik & Markram 1998; NEST's tsodyks_synapse
        "after"               u             U           the release before the facilitation: many Brian examples
        "before, from rest"   u⁺            U           Mongillo, Barak & Tsodyks 2008

    With the decays a = e^(−dt/τ_f), b = e^(−dt/τ_d), the depletion q = 1 − x and w = u − its rest, a step is
    q′ = b (q + y), w′ = a (u⁺ − rest). The n-th spike of a train of period Δ releases uₙ xₙ with
    uₙ₊₁ = U + uₙ (1 − U) e^(−Δ/τ_f), xₙ₊₁ = 1 − (1 − xₙ + uₙ xₙ) e^(−Δ/τ_d), x₁ = 1, u₁ = U: "before" and "after"
    release the same, to rounding, and tend to u∞ = U / (1 − (1 − U) e^(−Δ/τ_f)) and
    x∞ = (1 − e^(−Δ/τ_d)) / (1 − (1 − u∞) e^(−Δ/τ_d)). "before, from rest" starts at u₁ = U + U (1 − U), releasing more:
    uₙ₊₁ = U + (1 − U) (U + (uₙ − U) e^(−Δ/τ_f)).

    backward   dY = dy + b dq′           dv = (1 − q) s dY        dq = b dq′ − v s dY
               du⁺ = a dw′ (+ dv "before")                        du = (1 − U s) du⁺ (+ dv "after"),   dw = du
               ds = v (1 − q) dY + U (1 − u) du⁺                  dU = (1 − u) s du⁺ + (du − a dw′ where the rest is U)
               dln τ_f = a dt/τ_f (u⁺ − rest) dw′                 dln τ_d = b dt/τ_d (q + y) dq′

    s is 1 or 0; the backward pass differentiates the polynomial in s. Put weights after it:
    `chain(unroll(tsodyks_markram(3)), unroll(leaky_integrate_and_fire(8)))`. Params: `ShortTerm`; `freeze` the layer
    to keep its constants. Residuals per step: s, w and q.

    Args:
        features: D, the number of presynaptic neurons.
        use: U at the start, above 0 and at most 1: the share that the first spike releases.
        recovery: τ_d at the start, in the unit of dt.
        facilitation: τ_f at the start.
        dt: The duration of a time step.
        order: "before", "after" or "before, from rest".

    Raises:
        ValueError: `features` is not a positive integer, `use` is not between 0 and 1, a time is not above 0, `order`
            is none of the three; in `forward`, the params, the features or the dtype of x do not fit.
    """
    who = "tsodyks_markram"
    features = check_count(who, "features", features)
    check_number(who, "use", use, above=0.0, most=1.0)
    for name, value in (("recovery", recovery), ("facilitation", facilitation), ("dt", dt)):
        check_number(who, name, value, above=0.0)
    check_choice(who, "order", order, get_args(Facilitation))
    first, from_rest = order != "after", order != "before"

    def init(key, in_shape):
        shape = check_in_shape(who, in_shape, rank=1)
        if shape != (features,):
            raise ValueError(f"`{who}({features})` expected an `in_shape` of ({features},), got {shape}.")
        full = lambda value: jnp.full(shape, value, jnp.result_type(float))
        return ShortTerm(full(use), jnp.log(full(recovery)), jnp.log(full(facilitation))), shape

    def inputs(params, x):
        check_params(f"`{who}({features})`", params, ShortTerm, dict.fromkeys(ShortTerm._fields, (features,)))
        if x.shape[-1] != features:
            raise ValueError(
                f"`{who}({features})` expected `x` of shape (N, T, {features}), got "
                f"{(x.shape[1], x.shape[0], x.shape[2])}. Pass as many features as there are synapses."
            )
        check_same_dtype(who, x, params.use)
        return x

    def read(params, state):
        """(U, a, b, rest, u)."""
        use, log_recovery, log_facilitation = (leaf[None] for leaf in params)
        rest = use if from_rest else jnp.zeros_like(use)
        a, b = jnp.exp(-dt * jnp.exp(-log_facilitation)), jnp.exp(-dt * jnp.exp(-log_recovery))
        return use, a, b, rest, rest + state.facilitation

    def step(params, state, s):
        use, a, b, rest, u = read(params, state)
        after = u + use * (1 - u) * s
        y = (after if first else u) * (1 - state.depletion) * s
        return ShortTermState(a * (after - rest), b * (state.depletion + y)), y, (s, state)

    def back(params, residuals, dstate, dy):
        s, state = residuals
        use, a, b, rest, u = read(params, state)
        after, x = u + use * (1 - u) * s, 1 - state.depletion
        v = after if first else u
        released = dy + b * dstate.depletion
        dv = x * s * released
        dafter = a * dstate.facilitation + (dv if first else 0)
        du = (1 - use * s) * dafter + (0 if first else dv)
        ds = v * x * released + use * (1 - u) * dafter
        duse = (1 - u) * s * dafter + (du - a * dstate.facilitation if from_rest else 0)
        rates = dt * jnp.exp(-params.log_recovery[None]), dt * jnp.exp(-params.log_facilitation[None])
        drecovery = b * rates[0] * (state.depletion + v * x * s) * dstate.depletion
        dfacilitation = a * rates[1] * (after - rest) * dstate.facilitation
        dparams = ShortTerm(*(jnp.sum(widen(d), axis=0).astype(s.dtype) for d in (duse, drecovery, dfacilitation)))
        return ShortTermState(du, b * dstate.depletion - v * s * released), (dparams, ds)

    arguments = call_text(
        features, use=(use, 0.5), recovery=(recovery, 800.0), facilitation=(facilitation, 20.0), dt=(dt, 1.0),
        order=(order, "before"),
    )  # fmt: skip
    return Cell(who, ShortTermState((features,), (features,)), init, step, back, inputs, arguments=arguments)
