"""Every reset, order and option of the spiking neuron: values by hand, intervals in closed form, a loop in NumPy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spiking_loop
from oracles import relative_error
from passes import compiled, run

import bpjax as bp
from bpjax.layers import Adaptation, Affine, Convention, Spiking, leaky_integrate_and_fire, soft_spike, spike, unroll
from bpjax.layers.spiking.convention import CONVENTIONS, ORDERS, RESETS

# --- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "after"),
    [
        # snntorch#341: β = 0.8, θ = 1, input 0.21 from step 10 on. u = 0.21 (1 − 0.8^k) / 0.2 = 1.0038 at k = 14
        ("subtract_after_leak", (0.0131, 0.2204, 0.3864)),  # 0.8 · 1.0038 + 0.21 − 1
        ("subtract_before_leak", (0.2131, 0.3804, 0.5144)),  # 0.8 · 0.0038 + 0.21
        ("zero_after_leak", (0.0, 0.21, 0.378)),
        ("zero_before_leak", (0.21, 0.378, 0.5124)),
        ("none", (1.0131, 1.0204, 1.0264)),
    ],
)
def test_the_potential_after_a_spike(reset, after):
    cell = leaky_integrate_and_fire(1, -1 / math.log(0.8), 0.0, convention=Convention(reset, "current-potential-spike"))
    params, step = Affine(np.ones((1, 1))), jax.jit(cell.step)
    state, potentials, spikes = (
        cell.state_shape._replace(**dict.fromkeys(("current", "potential", "spikes"), np.zeros((1, 1)))),
        [],
        [],
    )
    for t in range(27):
        state, y, _ = step(params, state, np.full((1, 1), 0.21 if t >= 10 else 0.0))
        potentials.append(float(state.potential[0, 0])), spikes.append(bool(y[0, 0]))
    assert spikes.index(True) == 23 and round(potentials[23], 4) == 1.0038
    np.testing.assert_allclose(potentials[24:27], after, atol=6e-5)


@pytest.mark.parametrize("reset", ["zero_before_leak", "zero_after_leak"])
def test_intervals_between_spikes(reset):
    """n + k steps, k the least with I (1 − β^k) > θ; one more where the reset loses the input of its step."""
    taus, steps, drive = np.array([2.0, 5.0, 9.0, 20.0]), 3, 1.3
    beta = np.exp(-1 / taus)
    cell = leaky_integrate_and_fire(
        4, taus, 0.0, convention=Convention(reset, "current-potential-spike"), refractory=float(steps)
    )
    y = unroll(cell).forward(Affine((drive * (1 - beta))[None]), np.ones((1, 200, 1)))[0][0]
    k = np.ceil(np.log(1 - 1 / drive) / np.log(beta))
    for neuron in range(4):
        intervals = np.diff(np.flatnonzero(y[:, neuron]))
        assert len(intervals) > 2 and set(intervals) == {steps + k[neuron] + (reset == "zero_after_leak")}


def test_the_rate_of_a_constant_current_with_refractory_time():
    """1 / (t_ref + τ ln(I / (I − θ))), the f–I curve, as dt → 0; t_ref = 2, τ = 10, θ = 1."""
    dt, currents = 0.02, np.array([1.2, 1.5, 2.0, 4.0])
    cell = leaky_integrate_and_fire(4, 10.0, 0.0, dt, convention="spikingjelly", refractory=2.0)
    drive = currents * (1 - math.exp(-dt / 10))
    y = unroll(cell).forward(Affine(drive[None]), np.ones((1, 3000, 1)))[0][0]
    for neuron, current in enumerate(currents):
        interval = 2 + 10 * math.log(current / (current - 1))
        assert np.diff(np.flatnonzero(y[:, neuron])).mean() * dt == pytest.approx(interval, abs=dt)


@pytest.mark.thorough
def test_one_time_constant_per_neuron_is_six_layers_of_one(keys):
    """snntorch#442: β from 0.1 to 0.9 for six neurons."""
    betas = np.linspace(0.1, 0.9, 6)
    taus, thetas = -1 / np.log(betas), np.linspace(0.3, 1.2, 6)
    w, x = jax.random.normal(next(keys), (3, 6)), jax.random.normal(next(keys), (2, 30, 3))
    make = lambda n, tau, theta: unroll(leaky_integrate_and_fire(n, tau, 2.0, threshold=theta, convention="snntorch"))
    together = make(6, taus, thetas).forward(Affine(w), x)[0]
    assert len({int(n) for n in together.sum((0, 1))}) > 3
    for h in (0, 2, 5):
        alone = make(1, float(taus[h]), float(thetas[h])).forward(Affine(w[:, h : h + 1]), x)[0]
        assert (alone[..., 0] == together[..., h]).all()


# --- The loop in NumPy -----------------------------------------------------------------------------------------------

ALL = list(itertools.product(RESETS, ORDERS, (True, False)))
FEW = [ALL[n] for n in (1, 8, 16, 18, 29)]  # every reset, every order, both derivatives


@pytest.mark.parametrize(
    ("reset", "order", "differentiate"),
    [pytest.param(*case, marks=() if case in FEW else pytest.mark.thorough) for case in ALL],
)
def test_spikes_and_surrogate_gradients_are_those_of_the_loop(reset, order, differentiate):
    """With recurrent spikes, adaptation, refractory time and everything learnt."""
    rng = np.random.default_rng(7)
    numbers = {
        "w": rng.normal(0, 1.2, (2, 3)), "v": rng.normal(0, 0.6, (3, 3)), "membrane": np.array([3.0, 5.0, 9.0]),
        "synapse": np.array([1.5, 2.0, 4.0]), "threshold": np.array([0.5, 0.8, 1.1]),
    }  # fmt: skip
    x, dy = rng.normal(0.4, 1, (2, 7, 2)), rng.normal(size=(2, 7, 3))
    model = {
        "reset": reset, "order": order, "differentiate": differentiate, "hard": True, "k": 3.0, "refractory": 1,
        "kappa": 0.4, "tau_a": 6.0, "adapted": True,
    }  # fmt: skip
    layer = unroll(
        leaky_integrate_and_fire(
            3, fire=spike(3.0, "sigmoid"), convention=Convention(reset, order, differentiate, True), refractory=1.0,
            adaptation=Adaptation(0.4, 6.0), recurrent="orthogonal", learnt=("membrane", "synapse", "threshold"),
        )
    )  # fmt: skip
    logs = np.log(numbers["membrane"]), np.log(numbers["synapse"])
    params = Spiking(numbers["w"], numbers["v"], *logs, numbers["threshold"])
    y, (dparams, dx) = compiled(run)(layer, params, x, dy)
    truth = spiking_loop.gradient(numbers, x, dy, model)
    assert (y == spiking_loop.run(numbers, x, model)[0]).all() and 4 < y.sum() < 38
    named = zip(("w", "v", "membrane", "synapse", "threshold"), dparams[:5], strict=True)
    for name, found in (*named, ("x", dx)):
        assert relative_error(found, truth[name]) < 1e-7, name


@pytest.mark.thorough
def test_what_is_not_stored_is_not_read(keys):
    """Without learnt constants the same numbers come from fewer residuals: bit for bit the gradient of W."""
    x, dy = jax.random.normal(next(keys), (2, 9, 2)), jax.random.normal(next(keys), (2, 9, 3))
    w = 2 * jax.random.normal(next(keys), (2, 3))
    for reset in ("zero_before_leak",):
        options = {"fire": spike(2.0), "convention": Convention(reset, "current-potential-spike", False)}
        fixed = unroll(leaky_integrate_and_fire(3, 6.0, 3.0, **options))
        learnt = unroll(leaky_integrate_and_fire(3, 6.0, 3.0, **options, learnt=("membrane", "synapse", "threshold")))
        full = Spiking(w, None, jnp.full(3, math.log(6.0)), jnp.full(3, math.log(3.0)), jnp.ones(3))
        y, (dparams, dx) = compiled(run)(fixed, Affine(w), x, dy)
        y_learnt, (dfull, dx_learnt) = compiled(run)(learnt, full, x, dy)
        assert (y == y_learnt).all() and y.any()
        assert relative_error((dparams.w, dx), (dfull.w, dx_learnt)) < 1e-12
        sizes = [len(jax.tree.leaves(layer.forward(p, x)[1])) for layer, p in ((fixed, Affine(w)), (learnt, full))]
        assert sizes[0] == 3 and sizes[0] < sizes[1]  # x, y and z: as few as the tutorial's loop


def test_conventions_by_name():
    for name, convention in CONVENTIONS.items():
        cell = leaky_integrate_and_fire(2, convention=name)
        assert cell.state_shape == leaky_integrate_and_fire(2, convention=convention).state_shape
    assert repr(leaky_integrate_and_fire(2, convention="snntorch")).endswith("(2, convention='snntorch')")


def test_init_of_learnt_and_recurrent_params(keys):
    cell = leaky_integrate_and_fire(
        3, np.array([2.0, 4.0, 8.0]), threshold=0.5, recurrent="lecun", learnt=("membrane", "threshold")
    )
    params, out_shape = cell.init(next(keys), (4,))
    assert out_shape == (3,) and params.w.shape == (4, 3) and params.recurrent.shape == (3, 3)
    np.testing.assert_allclose(np.exp(params.log_membrane), [2, 4, 8], rtol=1e-14)
    assert params.log_synapse is None and (params.threshold == 0.5).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: leaky_integrate_and_fire(6, membrane=np.ones(2)), r"`membrane`.*6 neurons.*\(6,\), got shape \(2,\)"),
        (lambda: leaky_integrate_and_fire(2, threshold=np.array([1.0, 0.0])), "> 0 in `threshold`, got 0 at index 1"),
        (lambda: leaky_integrate_and_fire(2, synapse=np.array([1.0, -1.0])), "≥ 0 in `synapse`, got -1 at index 1"),
        (lambda: leaky_integrate_and_fire(2, convention="norse"), "`convention`.*spytorch"),
        (lambda: leaky_integrate_and_fire(2, convention=Convention("subtract")), "`convention.reset`.*zero_after_leak"),
        (lambda: leaky_integrate_and_fire(2, convention=3), "expected `convention` to be a Convention"),
        (lambda: leaky_integrate_and_fire(2, refractory=-1.0), "`refractory`.*≥ 0"),
        (lambda: leaky_integrate_and_fire(2, learnt=("beta",)), "`learnt`.*membrane, synapse, threshold"),
        (lambda: leaky_integrate_and_fire(2, learnt="membrane"), "tuple of names"),
        (lambda: leaky_integrate_and_fire(2, synapse=0.0, learnt=("synapse",)), "`synapse` > 0 where it is learnt"),
        (lambda: leaky_integrate_and_fire(2, adaptation=(1.0, 2.0)), "`adaptation` to be a Adaptation"),
        (lambda: leaky_integrate_and_fire(2, adaptation=Adaptation(-1.0, 2.0)), "`adaptation.strength`.*≥ 0"),
        (lambda: bp.layers.leaky_integrator(2, learnt=("threshold",)), "no threshold to learn"),
        (lambda: bp.layers.leaky_integrator(2, order="late"), "`order`.*current-potential-spike"),
        (lambda: spike(1.0, "box"), "`surrogate`.*fast sigmoid.*straight-through"),
        (lambda: soft_spike(1.0, height=-1.0), "`height`.*≥ 0"),
    ],
)
def test_bad_neurons(make, message):
    with pytest.raises(ValueError, match=message):
        make()
