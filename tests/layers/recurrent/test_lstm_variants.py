"""Peepholes, projections, layer normalization and cells without biases, against steps in NumPy and `jax.vjp`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error, sigmoid
from passes import compiled, drawn_params, run, vjp

from bpjax.layers.recurrent.cells import elman
from bpjax.layers.recurrent.gated import gru, lstm
from bpjax.layers.recurrent.normalized import layer_norm_lstm
from bpjax.layers.recurrent.peephole import peephole_lstm
from bpjax.layers.recurrent.recurrent import unroll

T, D, H, P = 4, 2, 3, 2


def peephole_steps(p, x):
    """Gers & Schmidhuber 2000, with the projection of Sak et al. 2014, in NumPy."""
    h, c, outputs = np.zeros((len(x), P)), np.zeros((len(x), H)), []
    for t in range(T):
        i, f, g, o = np.split(x[:, t] @ p.wx + h @ p.wh + p.b, 4, axis=1)
        i, f = sigmoid(i + p.peepholes[0] * c), sigmoid(f + p.peepholes[1] * c)
        c = f * c + i * np.tanh(g)
        h = (sigmoid(o + p.peepholes[2] * c) * np.tanh(c)) @ p.wp
        outputs.append(h)
    return np.stack(outputs, axis=1)


def normalize(a):
    return (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)


def layer_norm_steps(p, x):
    """Ba, Kiros & Hinton 2016, equations 20 to 22, in NumPy."""
    h, c, outputs = np.zeros((len(x), H)), np.zeros((len(x), H)), []
    for t in range(T):
        a = p.gain_x * normalize(x[:, t] @ p.wx) + p.gain_h * normalize(h @ p.wh) + p.b
        i, f, g, o = np.split(a, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(p.gain_c * normalize(c) + p.b_c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


CELLS = {
    "peephole_lstm": (peephole_lstm(H, P), peephole_steps),
    "layer_norm_lstm": (layer_norm_lstm(H), layer_norm_steps),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_that_of_its_paper(name, keys):
    cell, steps = CELLS[name]
    layer, x = unroll(cell), jax.random.normal(next(keys), (2, T, D))
    params, out_shape = drawn_params(layer, (T, D), keys)
    dy = jax.random.normal(next(keys), (2, *out_shape))
    y, hand = compiled(run)(layer, params, x, dy)
    assert relative_error(y, steps(jax.tree.map(np.asarray, params), np.asarray(x))) < 1e-12
    assert relative_error(hand, compiled(vjp)(layer, params, x, dy)) < 1e-12


def test_without_peepholes_and_projection_it_is_the_plain_lstm(keys):
    x = jax.random.normal(next(keys), (2, T, D))
    params, out_shape = drawn_params(unroll(lstm(H)), (T, D), keys)
    dy = jax.random.normal(next(keys), (2, *out_shape))
    y, (dparams, dx) = compiled(run)(unroll(lstm(H)), params, x, dy)
    layer = unroll(peephole_lstm(H))
    with_peepholes = jax.eval_shape(lambda k: layer.init(k, (T, D))[0], next(keys))._replace(
        wx=params.wx, wh=params.wh, b=params.b, peepholes=jnp.zeros((3, H))
    )
    y2, (d2, dx2) = compiled(run)(layer, with_peepholes, x, dy)
    assert relative_error((y2, (d2.wx, d2.wh, d2.b), dx2), (y, tuple(dparams), dx)) < 1e-12


@pytest.mark.parametrize(
    "cells",
    [
        (elman(H, use_bias=False), elman(H)),
        pytest.param((gru(H, use_bias=False), gru(H)), marks=pytest.mark.thorough),
        pytest.param((lstm(H, use_bias=False), lstm(H)), marks=pytest.mark.thorough),
    ],
    ids=["elman", "gru", "lstm"],
)
def test_without_biases_a_cell_is_the_one_with_biases_of_0(cells, keys):
    without, with_biases = map(unroll, cells)
    x = jax.random.normal(next(keys), (2, T, D))
    params, _ = drawn_params(without, (T, D), keys)
    assert None in params
    zeros = jax.tree.map(jnp.zeros_like, with_biases.init(next(keys), (T, D))[0])
    full = type(params)(*(z if p is None else p for p, z in zip(params, zeros, strict=True)))
    dy = jax.random.normal(next(keys), (2, T, H))
    y, (dparams, dx) = compiled(run)(without, params, x, dy)
    y_full, (dfull, dx_full) = compiled(run)(with_biases, full, x, dy)
    expected = type(params)(*(None if p is None else d for p, d in zip(params, dfull, strict=True)))
    assert relative_error((y, dparams, dx), (y_full, expected, dx_full)) < 1e-12


def test_initial_params_and_reprs(keys):
    params, out_shape = peephole_lstm(H, P).init(next(keys), (D,))
    assert out_shape == (P,) and not params.peepholes.any()
    np.testing.assert_array_equal(params.b, [0] * H + [1] * H + [0] * 2 * H)
    assert repr(peephole_lstm(H, P, use_bias=False)) == "peephole_lstm(3, projection=2, use_bias=False)"
    assert (
        repr(layer_norm_lstm(H)) == "layer_norm_lstm(3)" and repr(lstm(H, use_bias=False)) == "lstm(3, use_bias=False)"
    )
    with pytest.raises(ValueError, match="`features` to be an integer ≥ 2, got 1"):
        layer_norm_lstm(1)
