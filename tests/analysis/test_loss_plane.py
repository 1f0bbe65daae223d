"""The error on the plane of a path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bpjax as bp
from bpjax.analysis import loss_plane

X = jnp.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
BATCH = X, X @ jnp.array([[1.0], [-2.0]])
NETWORK = bp.dense(1, use_bias=False)


def path_of(weights):
    return bp.layers.Affine(jnp.asarray(weights)[..., None])


@pytest.mark.parametrize("scale", ["filter", "none"])
def test_the_error_of_a_quadratic_on_its_whole_plane(scale):
    """Two weights are one plane: all of the path lies in it, and E = ½ ‖X w − t‖²."""
    weights = np.array([[3.0, 1.0], [2.0, 0.0], [1.5, -1.5], [1.0, -1.0]])
    plane = loss_plane(NETWORK, bp.squared_error, path_of(weights), BATCH, normalization=scale, points=5)
    assert plane.share == pytest.approx(1)
    d1, d2 = (np.asarray(direction.w)[:, 0] for direction in plane.directions)
    reached = weights[-1] + plane.path @ np.stack([d1, d2])
    np.testing.assert_allclose(reached, weights, atol=1e-12)
    size = np.sqrt(2) if scale == "filter" else 1.0  # the norm of the last weights, all into one unit
    np.testing.assert_allclose([np.linalg.norm(d1), np.linalg.norm(d2)], size)
    for row, b in enumerate(plane.b):
        for column, a in enumerate(plane.a):
            w = weights[-1] + a * d1 + b * d2
            expected = 0.5 * np.sum((np.asarray(X) @ w - np.asarray(BATCH[1])[:, 0]) ** 2)
            assert plane.error[row, column] == pytest.approx(expected, abs=1e-10)


def test_a_vector_is_one_group_and_zeros_do_not_divide(keys):
    """Biases (0, 3, 4) have the norm 5 once, not one norm an entry; weights that are always 0 do not move."""
    network = bp.dense(3)
    w = jnp.zeros((4, 2, 3)).at[:, :, 1:].set(jax.random.normal(next(keys), (4, 2, 2)))
    b = jax.random.normal(next(keys), (4, 3)).at[-1].set(jnp.array([0.0, 3.0, 4.0]))
    plane = loss_plane(network, bp.squared_error, bp.layers.Affine(w, b), (X, jnp.zeros((3, 3))), points=3)
    units = np.asarray(b - b[-1:]) / 5, *(np.asarray(w - w[-1:])[:, :, c] / np.linalg.norm(w[-1, :, c]) for c in (1, 2))
    rows = np.concatenate(units, axis=1)
    singular = np.linalg.svd(rows)[1]
    assert plane.share == pytest.approx(np.sum(singular[:2] ** 2) / np.sum(singular**2))
    assert np.isfinite(plane.error).all() and not np.any(plane.directions[0].w[:, 0])


@pytest.mark.thorough
def test_two_random_directions_show_little_of_a_path(keys):
    network = bp.mlp((2, 40, 1))
    params, _ = network.init(next(keys), (2,))
    path = jax.tree.map(lambda leaf: leaf[None] + jax.random.normal(next(keys), (6, *leaf.shape)), params)
    plane = loss_plane(network, bp.squared_error, path, BATCH, key=next(keys), points=2)
    assert plane.share < 0.2  # 2 of 161 dimensions


def test_a_figure():
    plane = loss_plane(NETWORK, bp.squared_error, path_of([[3.0, 1.0], [2.0, 0.0], [1.0, -1.0]]), BATCH, points=3)
    assert "in this plane" in plane.plot().axes[0].get_title()


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (path_of([[1.0, 2.0], [1.0, 1.0]]), {}),
        (bp.layers.Affine(jnp.ones((3, 5, 1))), {}),
        ([1, 2], {}),
        (path_of([[3.0, 1.0], [2.0, 0.0], [1.0, -1.0]]), {"normalization": "layer"}),
    ],
    ids=["two weights", "another network", "no arrays", "normalization"],
)
def test_bad_input_gets_a_sentence(path, change):
    with pytest.raises(ValueError, match="expected"):
        loss_plane(NETWORK, bp.squared_error, path, BATCH, **change)
