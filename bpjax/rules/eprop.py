"""E-prop: recurrent spiking units learn from eligibility traces that run forward in time."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from bpjax.layers.initializers import Initializer, initializer, lecun_normal
from bpjax.layers.layer import Kind, Layer, is_shape
from bpjax.layers.recurrent.cell import Cell
from bpjax.losses import Loss
from bpjax.rules.feedback_params import check_feedback, random_feedback
from bpjax.rules.kolen_pollack import Reciprocal
from bpjax.rules.rule import Rule, call_of, check_made_of
from bpjax.types import Array, Params
from bpjax.util.checks import check_choice, check_number

Feedback = Literal["symmetric", "random", "adaptive"]


def eprop(
    network: Layer,
    loss: Loss,
    feedback: Feedback = "symmetric",
    scale: float | Array = 1.0,
    decay: float | Array = 0.999,
    weights: str | Initializer = lecun_normal,
) -> Rule:
    """One layer of spiking units and a leaky readout learn without a pass backward in time (Bellec et al. 2020).

    A unit has the state s (its current, its potential, its adaptation), spikes y = f(s), and inputs x W + y V.

        eligibility vector   ε_{t+1} = (∂s_{t+1}/∂s_t) ε_t + ∂s_{t+1}/∂W           within one unit: no path through V
        eligibility trace    e_t = (∂y_t/∂s_t) ε_t
        filtered trace       ē_t: the readout's leaky sums applied to e_t
        learning signal      L_t = (∂E/∂o_t) Bᵀ                                     one per unit and time step
        change               ΔW ∝ −Σ_t L_t ⊙ ē_t       readout: ΔW_out ∝ −Σ_t ȳ_tᵀ ∂E/∂o_t,  ȳ the filtered spikes

    With x in place of ∂s/∂W's input for W, and the spikes of the layer for V. For leaky integrate-and-fire units with
    potential u and leak α, e_t = ψ_t Σ α^(t−s) x_s, with ψ the surrogate derivative; with an adaptive threshold
    ε^a_{t+1} = ψ_t x̄_t + (ρ − ψ_t κ) ε^a_t and e_t = ψ_t (x̄_t − κ ε^a_t) (their eqs. 22 to 25). The factors are read
    from the hand-written backward pass of the cell, so that every convention and adaptation of
    `leaky_integrate_and_fire` has its own traces.

        symmetric   B = W_out: the gradient with the paths through V stopped; without V, the gradient
        random      B is a fixed draw of `weights` times `scale`
        adaptive    B starts as such a draw and gets the updates of W_out; both decay by λ, as in `kolen_pollack`:
                    optax.chain(optimizer, optax.add_decayed_weights(λ - 1))

    Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass 2020; the traces are exact, the learning signal leaves
    out that a spike now changes errors later through the recurrent weights. Deviations: no regularization of firing
    rates; a delay of one step between a spike and its effect is that of the cell.

    Cost: memory for N D H numbers per state variable whatever T; K² times as many multiply-adds a step, K state
    variables.

    Args:
        network: `chain(unroll(leaky_integrate_and_fire(...)), unroll(leaky_integrator(...)))`, constants not learnt,
            the readout's time constants the same for all outputs.
        loss: of the outputs (N, T, K) at all time steps.
        feedback: "symmetric", "random" or "adaptive".
        scale: factor of the draw of B; may be traced.
        decay: λ of "adaptive", between 0 and 1; may be traced.
        weights: the initializer of B, or its name.

    Raises:
        ValueError: `network` is not a Layer or not such a chain, `loss` not a Loss, `feedback` is none of the three,
            `decay` is not between 0 and 1, there is no such initializer; in `init`, the params belong to another
            network or hold learnt constants.
    """
    who = "eprop"
    check_made_of(who, network, loss)
    check_choice(who, "feedback", feedback, get_args(Feedback))
    check_number(who, "scale", scale)
    check_number(who, "decay", decay, least=0.0, most=1.0)
    draw = initializer(weights)
    hidden, readout = _layers(who, network)

    def init(key, params):
        _check_params(who, network, params)
        if feedback == "symmetric":
            return ()
        drawn = random_feedback(who, key, network, params, draw, scale)
        drawn = _readout_only(drawn)
        one = jnp.asarray(1.0, jnp.result_type(float))
        return drawn if feedback == "random" else Reciprocal(drawn, _readout_only(params), one)

    def grads(params, state, batch):
        x, target = batch
        spikes, (_, residuals, *_) = hidden.forward(params[0], x)
        output, _ = readout.forward(params[1], spikes)
        errors = loss.gradient(output, target)
        b, state = _feedback(feedback, params, state, decay)
        filtered = _Filter(readout.made_from, params[1], jnp.swapaxes(spikes, 0, 1))
        signals = jnp.swapaxes(errors, 0, 1) @ b.T
        dhidden = _hidden_gradient(hidden.made_from, params[0], jnp.swapaxes(x, 0, 1), residuals, signals, filtered)
        dreadout = params[1]._replace(w=filtered.readout_gradient(jnp.swapaxes(errors, 0, 1)))
        dparams = [dhidden, dreadout] if isinstance(params, list) else (dhidden, dreadout)
        return loss.value(output, target), dparams, state

    call = call_of(who, network, loss, feedback)
    return Rule(f"e-prop, {feedback} feedback", init, grads, network, loss, call)


def _feedback(kind: str, params, state, decay) -> tuple[Array, Any]:
    """B (H, K) of this step, and the next state."""
    if kind == "symmetric":
        return params[1].w, state
    check_feedback(state if kind == "random" else state.feedback, params)
    if kind == "random":
        return state[1].w, jax.tree.map(jnp.copy, state)
    factor = state.decay.astype(params[1].w.dtype)
    b = factor * state.feedback[1].w + (params[1].w - factor * state.forward[1].w)
    after = [params[0], params[1]._replace(w=b)]
    feedback = _readout_only(tuple(after) if isinstance(params, tuple) else after)
    return b, Reciprocal(feedback, _readout_only(params), jnp.asarray(decay, state.decay.dtype))


def _readout_only(params: Params) -> Params:
    """The params with zeros for the hidden layer."""
    kept = [jax.tree.map(jnp.zeros_like, params[0]), jax.tree.map(jnp.array, params[1])]
    return tuple(kept) if isinstance(params, tuple) else kept


class _Filter:
    """The readout's leaky sums of any array (N, ...): its response to inputs that are not mixed by weights."""

    def __init__(self, cell: Cell, params, spikes: Array):
        self.cell, self.params, self.spikes = cell, params, spikes

    def start(self, like: Array):
        return jax.tree.map(lambda _: jnp.zeros_like(like), self.cell.state_shape, is_leaf=is_shape)

    def step(self, state, driven):
        """(state, output) of one time step."""
        after, y, _ = self.cell.step(self.params, state, driven)
        return after, y

    def readout_gradient(self, errors: Array) -> Array:
        """Σ_t ȳ_tᵀ ∂E/∂o_t (H, K)."""

        def step(carry, at):
            state, total = carry
            spikes, error = at
            state, filtered = self.step(state, spikes)
            return (state, total + filtered.T @ error), None

        zero = jnp.zeros((self.spikes.shape[2], errors.shape[2]), errors.dtype)
        (_, total), _ = jax.lax.scan(step, (self.start(self.spikes[0]), zero), (self.spikes, errors))
        return total


def _hidden_gradient(cell: Cell, params, x: Array, residuals, signals: Array, filtered: _Filter):
    """Σ_t L_t ⊙ ē_t for the input weights and, where there are some, the recurrent weights.

    Args:
        cell: of the hidden layer.
        params: of the hidden layer.
        x: inputs (T, N, D).
        residuals: of the cell at all times.
        signals: L (T, N, H).
        filtered: the readout's leaky sums.
    """
    stopped, recurrent = _without_recurrence(params), getattr(params, "recurrent", None)
    read = cell.back_params(stopped)
    inputs = x if recurrent is None else jnp.concatenate([x, residuals.before.spikes], axis=-1)
    leaves = jax.tree.leaves(cell.state_shape, is_leaf=is_shape)
    traces = [jnp.zeros((*inputs.shape[1:], signals.shape[2]), x.dtype) for _ in leaves]

    def step(carry, at):
        traces, filter_state, total = carry
        presynaptic, own, signal = at
        state, spike = _factors(cell, read, own, signal)
        pre = presynaptic[:, :, None]
        trace = _combined(spike, traces, pre)
        traces = [_combined(row, traces, pre) for row in state]
        filter_state, filtered_trace = filtered.step(filter_state, trace)
        return (traces, filter_state, total + jnp.sum(signal[:, None, :] * filtered_trace, axis=0)), None

    start = traces, filtered.start(traces[0]), jnp.zeros(traces[0].shape[1:], x.dtype)
    (_, _, total), _ = jax.lax.scan(step, start, (inputs, residuals, signals))
    w, v = total[: x.shape[2]], total[x.shape[2] :]
    return params._replace(w=w) if recurrent is None else params._replace(w=w, recurrent=v)


class _Factors(NamedTuple):
    """The derivatives of one variable of a unit after a step, each (N, H)."""

    states: list[Array]  # by each state variable before the step
    driven: Array  # by x W + y V


def _factors(cell: Cell, read, residuals, like: Array) -> tuple[list[_Factors], _Factors]:
    """∂s_{t+1}/∂s_t row by row, and ∂y_t/∂s_t, of every unit: `back` applied to one cotangent of 1 after the other."""
    structure = jax.tree.structure(cell.state_shape, is_leaf=is_shape)
    count, zero, one = structure.num_leaves, jnp.zeros_like(like), jnp.ones_like(like)

    def row(dstate, dy):
        before, errors = cell.back(read, residuals, structure.unflatten(dstate), dy)
        return _Factors(jax.tree.leaves(before), getattr(errors, "delta", errors))

    states = [row([one if k == j else zero for j in range(count)], zero) for k in range(count)]
    return states, row([zero] * count, one)


def _combined(factors: _Factors, traces: list[Array], pre: Array) -> Array:
    """Σ_j ∂·/∂s_j ε_j + ∂·/∂driven x, (N, D, H)."""
    total = factors.driven[:, None, :] * pre
    for factor, trace in zip(factors.states, traces, strict=True):
        total = total + factor[:, None, :] * trace
    return total


def _without_recurrence(params):
    return params._replace(recurrent=None) if getattr(params, "recurrent", None) is not None else params


def _layers(who: str, network: Layer) -> tuple[Layer, Layer]:
    """The spiking layer and the readout, or a `ValueError`."""
    layers = list(network.layers) if network.kind is Kind.CHAIN else []
    cells = [layer.made_from for layer in layers if isinstance(layer.made_from, Cell)]
    if not (len(layers) == len(cells) == 2 and cells[0].kind is Kind.SPIKING and cells[1].name == "leaky_integrator"):
        raise ValueError(
            f"`{who}` expected `chain(unroll(leaky_integrate_and_fire(...)), unroll(leaky_integrator(...)))`, got "
            f"{network!r}. Use `bp.backprop` for other networks."
        )
    return layers[0], layers[1]


def _check_params(who: str, network: Layer, params) -> None:
    """Raise a `ValueError` unless the params are the weights of two layers, without learnt constants."""
    pair = isinstance(params, tuple | list) and len(params) == 2 and all(hasattr(own, "w") for own in params)
    if not pair or any(jnp.ndim(leaf) != 2 for leaf in jax.tree.leaves(params)):
        raise ValueError(
            f"`{who}` expected the weights of `{network!r}`, without learnt constants, got "
            f"{jax.tree.map(jnp.shape, params)}. Make them with its `init`, and the layers without `learnt`."
        )
