"""What each example does: by hand, and by jax.grad of each example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp

# Two relus and a linear output, E = ½ Σ (t − o)²; weights 1, −1 into unit 1, biases 0, −10, output weights 1, 1.
# x = (2, 1), (1, 2), (3, 0), t = 0, 0, 5. Unit 1: a = 1, −1, 3. Unit 2: a = x₁ − 10 < 0, dead on all three.
NETWORK = bp.mlp((2, 2, 1), bp.relu)
PARAMS = (
    bp.layers.Affine(jnp.asarray([[1.0, 1.0], [-1.0, 0.0]]), jnp.asarray([0.0, -10.0])),
    (),
    bp.layers.Affine(jnp.asarray([[1.0], [1.0]]), jnp.asarray([0.0])),
)
BATCH = jnp.asarray([[2.0, 1.0], [1.0, 2.0], [3.0, 0.0]]), jnp.asarray([[0.0], [0.0], [5.0]])


@pytest.fixture(scope="module")
def found():
    with jax.enable_x64(True):
        return bp.anatomy(NETWORK, bp.squared_error, PARAMS, BATCH)


def test_a_dead_unit_by_hand(found):
    """o = 1, 0, 3; δ = 1, 0, −2. ∂E by w₁₁, w₂₁, b, and w, b of layer 2: 1·(2, 1, 1; 1, 1), 0, −2·(3, 0, 1; 3, 1)."""
    np.testing.assert_allclose(found.error, [0.5, 0.0, 2.0])
    np.testing.assert_allclose(found.gradient_norm, [np.sqrt(8), 0.0, 2 * np.sqrt(20)])
    first, third = np.asarray([2.0, 1.0, 1.0, 1.0, 1.0]), -2 * np.asarray([3.0, 0.0, 1.0, 3.0, 1.0])
    cosine = first @ (first + third) / np.linalg.norm(first) / np.linalg.norm(first + third)
    assert found.angle[0] == pytest.approx(np.degrees(np.arccos(cosine))) and np.isnan(found.angle[1])
    assert found.states[0].dead.tolist() == [[False, True], [True, True], [False, True]]
    assert found.batch_error == 2.5 and found.batch_norm == pytest.approx(np.linalg.norm(first + third))


def test_weights_that_examples_pull_apart(found):
    """w₁₁: 2 and −6, 4 of 8 remain; b of either layer: 1 and −2, 1 of 3 remains; w of layer 2: 1 and −6, 5 of 7."""
    shares = dict(zip(found.opposed, found.cancelled, strict=True))
    assert shares == pytest.approx({
        "w[1, 1] of layer 1": 0.5, "b[1] of layer 1": 2 / 3, "b[1] of layer 2": 2 / 3, "w[1, 1] of layer 2": 2 / 7,
    })  # fmt: skip
    column = found.opposed.index("w[1, 1] of layer 1")
    np.testing.assert_allclose(found.pulls[:, column], [-2.0, 0.0, 6.0])


def test_sentences_and_table(found):
    assert "unit 2 of layer 1 is dead on all 3 examples" in found.findings
    assert "example 2 changes no weight: the gradient is 0" in found.findings
    assert "example 3 has 80 % of the error" in found.findings
    assert "example 3 pulls w[1, 1] of layer 1 up, example 1 down: 50 % of the pull cancels" in found.findings
    assert any(finding.startswith("example 1 pulls against the batch: its gradient is 1") for finding in found.findings)
    assert ["2", "0", "0", "1.1", "1.2"] in [line.split() for line in str(found).splitlines()]
    assert "the 1 examples with the largest gradients" in found.table(rows=1)
    assert repr(found) == "<anatomy of 3 examples, error 2.5>"


@pytest.mark.thorough
def test_every_gradient_is_that_of_jax_grad(keys):
    network = bp.mlp((3, 4, 2), bp.sigmoid)
    params, _ = network.init(next(keys), (3,))
    x, target = jax.random.normal(next(keys), (7, 3)), jax.nn.one_hot(jnp.arange(7) % 2, 2)
    loss = bp.losses.batch_mean(bp.softmax_cross_entropy)
    found = bp.anatomy(network, loss, params, (x, target))

    @jax.jit
    def gradients(x, target):
        error = lambda params, x, target: loss.value(network.forward(params, x)[0], target)
        one = lambda x, t: jax.flatten_util.ravel_pytree(jax.grad(error)(params, x[None], t[None]))[0]
        return jax.vmap(one)(x, target), jax.flatten_util.ravel_pytree(jax.grad(error)(params, x, target))[0]

    each, batch = gradients(x, target)
    np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(each, axis=1), rtol=1e-12)
    cosines = each @ batch / np.linalg.norm(each, axis=1) / np.linalg.norm(batch)
    np.testing.assert_allclose(found.angle, np.degrees(np.arccos(cosines)), rtol=1e-8)


@pytest.mark.thorough
def test_the_figure(found):
    pytest.importorskip("matplotlib")
    gradients, units, weights, bar = found.plot().axes
    assert gradients.get_xlabel() == "angle to the gradient of the batch (degrees)"
    np.testing.assert_array_equal(units.images[0].get_array(), [[0, 2, 0], [2, 2, 2]])  # 2 is dead
    assert len(weights.get_yticklabels()) == 4 and bar.get_ylabel()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`anatomy` expected a network with weights"):
        bp.anatomy(bp.tanh, bp.squared_error, (), (jnp.ones((2, 1)), jnp.ones((2, 1))))
    with pytest.raises(ValueError, match="`anatomy` expected `fraction`"):
        bp.anatomy(NETWORK, bp.squared_error, PARAMS, BATCH, fraction=2.0)
