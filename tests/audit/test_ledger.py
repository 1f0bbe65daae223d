"""The ledger finds for every rule what its paper says about it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.audit.decoupled import decoupled, perturbed_slopes
from bpjax.audit.ledger import QUESTIONS, ledger, ledger_of_case, ledger_of_rules, ledger_table, with_two_hidden
from bpjax.audit.probe import other_target, relative_change
from bpjax.layers.backward_transforms import without_derivative
from bpjax.layers.layer import Kind
from bpjax.rules.delayed import delayed
from bpjax.rules.direct import direct_random_target_projection
from bpjax.rules.feedback import feedback_alignment, gradient_through
from bpjax.rules.registry import RULES
from bpjax.rules.slopes import with_slopes
from bpjax.rules.units import units

NETWORK, LOSS = bp.mlp((3, 4, 4, 2), bp.tanh), bp.squared_error
KEY = jax.random.key(7)
PARAMS, _ = NETWORK.init(jax.random.key(1), (3,))
RNG = np.random.default_rng(3)
BATCH = jnp.asarray(RNG.normal(size=(3, 3))), jnp.asarray(np.eye(2)[[0, 1, 0]])


def of(make, network=NETWORK, params=PARAMS, batch=BATCH, loss=LOSS, **options):
    return ledger(make, network, loss, params, batch, key=KEY, **options)


def answers(letters):
    return tuple({"y": True, "n": False, "?": None}[letter] for letter in letters)


# W weight transport, S exact derivatives, L later layers, T target, E early target, N same-step target; from the papers
#                                          WSLTEN
TRUTH = {
    "backprop": "yyyyny",  # δ = φ′ ⊙ δₗ₊₁ Wᵀ of this step's error: every objection applies
    "autodiff": "yyyyny",  # the same by JAX, without the `backward` of a layer
    "feedback alignment": "nyyyny",  # B instead of W; the rest is the same
    "sign symmetry, uSF": "yyyyny",  # the backward pass uses the signs of the weights
    "sign symmetry, brSF": "yyyyny",
    "sign symmetry, frSF": "yyyyny",
    "Kolen-Pollack": "nyyyny",  # B receives the updates of W, never W
    "weight mirror": "nyyyny",  # B learns from noise in the forward pass
    "direct feedback": "nyyyny",  # e Bₗᵀ: depends on later layers, but only through the output
    "direct random target projection": "nynyyy",  # t Bₗᵀ: depends on neither the output nor later layers
    "noisy slopes": "yyyyny",  # backpropagation with φ′ + noise still reads φ′
    "batch Manhattan": "yyyyny",  # the sign of the gradient
    "predictive coding, strict": "yyyyny",  # J_{l+1}ᵀ e_{l+1}
    "predictive coding, fixed prediction": "yyyyny",
    "predictive coding, zero divergence": "yyyyny",  # is backpropagation
    "predictive coding with multipliers": "yyyyny",  # J_{l+1}ᵀ p_{l+1}
    "predictive coding on a graph": "yyyyny",  # the same on a chain
    "equilibrium propagation": "yyyyny",  # the same W in both directions in both phases, ρ′ in their dynamics
    "delayed": "yyyynn",  # an earlier gradient
    "synthetic gradients": "yyyynn",  # M learns from gradients through W; this step's target is too late
    "spike-timing-dependent plasticity": "nnnnnn",  # unsupervised, from input and output spikes
    "e-prop, symmetric feedback": "yyyyny",  # W_out of this step as feedback, ψ in the traces
    "e-prop, random feedback": "nyyyny",
    "e-prop, adaptive feedback": "nyyyny",
    "triplet plasticity": "nnnnnn",
    "reward-modulated plasticity": "nnyyny",  # its own spikes, and one number: the error of each example
    "weight perturbation": "nnyyny",  # one number, the change of the error, and no backward pass
    "symmetric weight perturbation": "nnyyny",
    "node perturbation": "nnyyny",
    "forward gradient": "nyyyny",  # forward-mode derivative: with φ′, without transposed weights
    "local losses": "nynyyy",  # a classifier at every layer
    "mono-forward": "nynyyy",
    "forward-forward": "nynyyy",  # the label is part of the input; each layer has its own goodness
    "difference target propagation": "yyyyny",  # the first target is a gradient through W_L
}


ERRORS, AN_ERROR, ALONE = "real errors", "spikes and an error", "spikes alone"
# layer passes in a row before the first layer of three is updated; what spiking units learn from; in time
THROUGH_ALL = (6, ERRORS, "backward")  # three forward, three backward
GRADES = dict.fromkeys(TRUTH, THROUGH_ALL) | {
    "autodiff": (6, None, None),  # a step function has the derivative 0
    "direct feedback": (4, ERRORS, "backward"),  # three forward, then straight to the layer
    "direct random target projection": (2, ERRORS, "backward"),  # its own two
    "local losses": (2, ERRORS, "backward"),
    "mono-forward": (2, ERRORS, "backward"),
    "synthetic gradients": (2, ERRORS, "backward"),
    "forward-forward": (2, None, None),  # needs layers of unit length
    "difference target propagation": (5, None, None),  # dense layers only; three forward, back from the output, its own
    "node perturbation": (4, ERRORS, "backward"),  # three forward, and the gradient at its own noise
    "weight perturbation": (3, AN_ERROR, "forward"),
    "symmetric weight perturbation": (3, AN_ERROR, "forward"),
    "forward gradient": (3, AN_ERROR, "forward"),
    "delayed": (0, None, None),  # an earlier batch's
    "predictive coding, strict": (
        42,
        ERRORS,
        "backward",
    ),  # 20 steps of two passes, and the last two
    "predictive coding with multipliers": (42, ERRORS, "backward"),
    "predictive coding on a graph": (42, ERRORS, "backward"),
    "equilibrium propagation": (81, ERRORS, "backward"),  # 20 free and 20 nudged steps of two passes, and its own
    "spike-timing-dependent plasticity": (1, ALONE, "forward"),
    "triplet plasticity": (1, ALONE, "forward"),
    "reward-modulated plasticity": (3, AN_ERROR, "forward"),  # the loss comes after all layers
    "e-prop, symmetric feedback": (2, ERRORS, "forward"),  # of the units and of the readout
    "e-prop, random feedback": (2, ERRORS, "forward"),
    "e-prop, adaptive feedback": (2, ERRORS, "forward"),
}


@pytest.mark.parametrize("name", TRUTH)
def test_each_rule_is_as_its_paper_says(name):
    row = ledger_of_case(RULES[name], key=jax.random.key(0))
    assert row.answers == answers(TRUTH[name])
    assert (row.passes, row.signals, row.time) == GRADES[name]


def test_every_rule_has_its_row_here():
    assert set(TRUTH) == set(RULES)


def test_changes_are_reported_per_hidden_layer():
    row = of(feedback_alignment)
    assert row.answers == answers("nyyyny") and row.steps == 0
    assert max(row.changes["weight transport"]) < 1e-14
    others = [row.changes[question] for question in ("exact derivatives", "later layers", "target", "same-step target")]
    assert all(len(changes) == 2 and min(changes) > 0.01 for changes in others)
    assert json.loads(json.dumps(row.to_dict()))["transport"] is False


def test_gains_in_the_backward_pass_are_not_weight_transport():
    """Feedback replaces weights; its gains and biases are those of the network."""
    layers = (bp.dense(4), bp.layer_norm(), bp.tanh)
    network = bp.chain(*layers, *layers, bp.dense(2))
    params, _ = network.init(KEY, (3,))
    assert of(feedback_alignment, network=network, params=params).answers == answers("nyyyny")
    assert of(bp.backprop, network=network, params=params).transport is True


def test_steps_are_run_until_there_is_a_direction():
    late = lambda make, steps: lambda n, l: delayed(make(n, l), steps)
    row = of(late(bp.backprop, 2))
    assert row.answers == answers("yyyynn") and row.steps == 2
    assert of(late(direct_random_target_projection, 2)).answers == answers("nynynn")
    unknown = of(late(bp.backprop, 2), steps=1)
    assert unknown.answers == answers("??????") and str(unknown).count("cannot tell") == 8
    # only one layer is late: the other one is reported
    mixed = of(late(bp.backprop, (3, 0, 0)), steps=1)
    assert mixed.answers == answers("yyyyny") and mixed.changes["weight transport"][0] is None


def test_wrong_implementations_are_detected():
    """Feedback alignment that does not use its B, a rule without φ′, one that reads the output weights only."""

    def forgets(network, loss):
        def grads(params, state, batch):
            return *gradient_through(network, loss, params, params, batch), state

        return feedback_alignment(network, loss)._replace(grads=grads)

    assert of(forgets).transport is True
    linear = of(lambda n, l: bp.backprop(with_slopes(n, without_derivative), l))
    assert linear.answers == answers("ynyyny") and max(linear.changes["exact derivatives"]) == 0.0

    def peeks(network, loss):
        rule = direct_random_target_projection(network, loss)

        def grads(params, state, batch):
            value, direction, state = rule.grads(params, state, batch)
            last = jnp.sum(jax.tree.leaves(params)[-2])  # of the output layer, which the paper's rule never reads
            return value, jax.tree.map(lambda g: g * last, direction), state

        return rule._replace(grads=grads)

    assert of(peeks).answers == answers("yyyyny")


def test_float32_params_and_labels_give_the_same_answers(float32):
    params, _ = NETWORK.init(jax.random.key(1), (3,))
    batch = np.asarray(BATCH[0], np.float32), np.array([0, 1, 0])
    cross_entropy = bp.softmax_cross_entropy
    assert of(bp.backprop, params=params, batch=batch, loss=cross_entropy).answers == answers("yyyyny")
    row = of(direct_random_target_projection, params=params, batch=batch, loss=cross_entropy)
    assert row.answers == answers("nynyyy") and row.changes["later layers"] == (0.0, 0.0)


def test_other_target_is_of_the_same_kind():
    assert other_target(jnp.array([0, 2, 1]), 3).tolist() == [1, 0, 2]
    assert other_target(jnp.array([[1.0, 0.0, 0.0]]), 3).tolist() == [[0.0, 1.0, 0.0]]
    np.testing.assert_allclose(other_target(jnp.array([[0.1], [0.9]]), 1), [[0.9], [0.1]])
    assert other_target(jnp.array([[0.5, 0.5]]), 2).tolist() == [[1.5, 1.5]]


def test_a_change_is_relative_and_none_where_the_direction_is_zero():
    assert relative_change([jnp.array([3.0]), jnp.array([4.0])], [jnp.array([3.0]), jnp.array([5.0])]) == pytest.approx(
        1 / np.sqrt(34)
    )
    assert relative_change(jnp.array([1.0]), jnp.array([0.0])) is None
    assert relative_change(jnp.array([jnp.nan]), jnp.array([1.0])) == np.inf


def test_a_decoupled_layer_uses_different_weights_in_its_two_passes():
    layer = bp.dense(2)
    own, _ = layer.init(jax.random.key(0), (3,))
    other = jax.tree.map(lambda p: p + 1, own)
    changed = decoupled(layer, jax.tree.map(jnp.ones_like, own))
    x, dy = BATCH[0], jnp.ones((3, 2))
    y, residuals = changed.forward(other, x)
    np.testing.assert_allclose(y, layer.forward(own, x)[0], rtol=1e-14)
    wanted = np.ones((3, 2)) @ np.asarray(other.w).T
    np.testing.assert_allclose(changed.backward(other, residuals, dy)[1], wanted, rtol=1e-14)
    vjp, tangent = jax.vjp(lambda x: changed.forward(other, x)[0], x)[1], jnp.ones_like(x)
    np.testing.assert_allclose(vjp(dy)[0], wanted, rtol=1e-14)
    along = jax.jvp(lambda x: changed.forward(other, x)[0], (x,), (tangent,))[1]
    np.testing.assert_allclose(along, np.ones((3, 3)) @ np.asarray(own.w), rtol=1e-14)


def test_perturbed_slopes_perturb_jax_derivatives_too():
    changed = perturbed_slopes(NETWORK, jax.random.key(0))
    assert [layer.name for layer in changed.layers] == [layer.name for layer in NETWORK.layers]
    (y, residuals), wanted = changed.forward(PARAMS, BATCH[0]), NETWORK.forward(PARAMS, BATCH[0])[0]
    assert np.array_equal(y, wanted)
    by_hand = changed.backward(PARAMS, residuals, jnp.ones_like(y))[0]
    by_jax = jax.grad(lambda p: jnp.sum(changed.forward(p, BATCH[0])[0]))(PARAMS)
    true = jax.grad(lambda p: jnp.sum(NETWORK.forward(p, BATCH[0])[0]))(PARAMS)
    assert relative_change(by_hand, by_jax) < 1e-14 and relative_change(by_jax, true) > 0.1
    assert perturbed_slopes(bp.dense(2), jax.random.key(0)) is None


def test_networks_get_a_second_hidden_layer():
    for name, case in RULES.items():
        network = with_two_hidden(case.network, case.in_shape)
        inner = network.layers[0] if network.kind is Kind.HOPFIELD else network
        params = jax.eval_shape(lambda key, init=network.init, shape=case.in_shape: init(key, shape)[0], KEY)
        assert len(units(inner, params)) >= 3, name


def test_the_table_has_a_line_for_each_rule():
    rows = ledger_of_rules({name: RULES[name] for name in ("feedback alignment", "local losses")})
    header, _, *lines = ledger_table(rows).splitlines()
    assert all(question in header for question in QUESTIONS)
    assert [line.split("  ")[0] for line in lines] == ["feedback alignment", "local losses"]
    assert lines[1].split()[2:] == ["no", "yes", "no", "yes", "yes", "yes", "0", "2", "real", "errors", "backward"]
    assert str(rows[1]).splitlines()[-1].split() == lines[1].split()


def test_bad_input():
    with pytest.raises(ValueError, match="`ledger` expected a Layer, got"):
        of(bp.backprop, network=bp.dense)
    with pytest.raises(ValueError, match="expected `make\\(network, loss\\)` to return a Rule, got tuple"):
        of(lambda n, l: (n, l))
    with pytest.raises(ValueError, match="expected a hidden layer of units, got chain with 1 layer"):
        one = bp.chain(bp.dense(2), bp.tanh)
        of(bp.backprop, network=one, params=one.init(jax.random.key(0), (3,))[0])
    with pytest.raises(ValueError, match="`ledger` expected `steps`"):
        of(bp.backprop, steps=-1)
    with pytest.raises(ValueError, match="`ledger` expected a batch"):
        of(bp.backprop, batch=BATCH[0])
