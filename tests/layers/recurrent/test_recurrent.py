"""Recurrence: the error swept back through time, against NumPy loops, forward-mode learning and costates by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error, sigmoid
from passes import compiled, compiled_rules, moved, noise_like, quick_jit, run, run_and_vjp

import bpjax as bp
from bpjax.layers.layer import map_layers
from bpjax.layers.recurrent.cells import Jordan, elman, jordan
from bpjax.layers.recurrent.gated import Gru, LstmState, gru, lstm
from bpjax.layers.recurrent.net_inputs import Recurrent
from bpjax.layers.recurrent.recurrent import Cell, bidirectional, unroll
from bpjax.layers.recurrent.stage import dynamics, stage
from bpjax.networks.char_rnn import char_rnn

N, T, D, H = 2, 5, 3, 4


def made(layer, in_shape, keys, examples=N):
    """Params without zeros, and an input."""
    params, _ = layer.init(next(keys), in_shape)
    x = noise_like(jax.ShapeDtypeStruct((examples, *in_shape), jnp.float64), keys)
    return moved(params, keys, 0.2), x


def vjp_error(layer, params, x, keys) -> float:
    """How far backward is from `jax.vjp` of forward."""
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)
    return relative_error(*compiled(run_and_vjp)(layer, params, x, dy)[1:])


def saturating(key, in_shape):
    return {"rate": jnp.array(0.3), "gain": jax.random.normal(key, (*in_shape, 2))}


def pendulum(params, state, x):
    angle, speed = state["angle"], state["speed"]
    force = x @ params["gain"]
    return {"angle": angle + params["rate"] * speed, "speed": speed + params["rate"] * (force - jnp.sin(angle))}


PENDULUM = dynamics(pendulum, {"angle": (2,), "speed": (2,)}, saturating)

AWKWARD = {
    "one step": (unroll(gru(3)), (1, 2), 2),
    "one example, one feature, one unit": (unroll(lstm(1)), (3, 1), 1),
    "all one": (unroll(elman(1)), (1, 1), 1),
    "reversed, last": (unroll(gru(3), reverse=True, last=True), (4, 2), 2),
    "last of one": (unroll(lstm(3), last=True), (1, 2), 1),
    "not whole blocks": (unroll(lstm(3), truncate=2), (5, 2), 2),
    "blocks, reversed": (unroll(jordan(3, 2), truncate=3, reverse=True), (5, 2), 2),
    "blocks of one": (unroll(gru(3), truncate=1), (4, 2), 2),
    "blocks, last": (unroll(elman(3), truncate=2, last=True), (5, 2), 2),
    "wide enough for the library": (unroll(lstm(16)), (4, 9), 12),
    "another activation": (unroll(elman(3, bp.gelu)), (4, 2), 2),
    "Jordan, softmax output": (unroll(jordan(3, 2, bp.relu, bp.softmax, decay=0.7)), (4, 2), 2),
    "two cells": (bidirectional(elman(2), lstm(3), truncate=2), (5, 2), 2),
    "above one another": (bp.chain(unroll(gru(3)), bidirectional(elman(2)), bp.over_positions(bp.dense(2))), (3, 2), 2),
    "stage, truncated": (unroll(stage(bp.dense(3), 3), truncate=2, reverse=True), (5, 2), 2),
    "stage, last": (unroll(stage(bp.chain(bp.dense(2), bp.sigmoid), 2), last=True), (3, 2), 2),
    "dynamics": (unroll(PENDULUM), (4, 3), 2),
    "dynamics, last": (unroll(PENDULUM, last=True), (4, 3), 2),
}


IN_SHORT = ("one step", "all one", "not whole blocks", "blocks, reversed", "dynamics", "stage, last")
"""Those that are tested where the thorough tests are left out."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in IN_SHORT else pytest.mark.thorough) for n in AWKWARD]
)
def test_backward_is_the_vjp_of_forward(name, keys):
    layer, in_shape, examples = AWKWARD[name]
    params, x = made(layer, in_shape, keys, examples)
    assert vjp_error(layer, params, x, keys) < 1e-12


@pytest.mark.parametrize("options", [{}, {"reverse": True, "last": True}, {"truncate": 2}], ids=str)
@pytest.mark.parametrize("cell", [lstm(3), jordan(3, 2), PENDULUM], ids=lambda cell: cell.name)
def test_a_layer_with_state_takes_and_returns_it(cell, options, keys):
    layer = unroll(cell, with_state=True, **options)
    params, out_shape = layer.init(next(keys), ((5, D), cell.state_shape))
    params = noise_like(params, keys)
    x = noise_like(jax.ShapeDtypeStruct((N, 5, D), jnp.float64), keys)
    is_shape = lambda s: isinstance(s, tuple) and all(isinstance(n, int) for n in s)
    state = jax.tree.map(lambda s: jnp.zeros((N, *s)), cell.state_shape, is_leaf=is_shape)
    stateless = unroll(cell, **options)
    both = lambda params, x: (stateless.forward(params, x)[0], layer.forward(params, (x, state))[0])
    from_zero, (y, final) = quick_jit(both)(params, x)
    assert relative_error(y, from_zero) == 0
    assert jax.tree.map(lambda a: a.shape[1:], (y, final)) == out_shape
    assert vjp_error(layer, params, (x, noise_like(state, keys)), keys) < 1e-12


def test_a_sequence_in_two_parts_is_the_whole_one(keys):
    whole, part = unroll(lstm(H)), unroll(lstm(H), with_state=True)
    params, x = made(whole, (T, D), keys)
    dy = jax.random.normal(next(keys), (N, T, H))
    zero = LstmState(jnp.zeros((N, H)), jnp.zeros((N, H)))

    @quick_jit
    def in_two_parts(params, x, dy):
        (y1, state), residuals1 = part.forward(params, (x[:, :2], zero))
        (y2, _), residuals2 = part.forward(params, (x[:, 2:], state))
        late, (dx2, dstate) = part.backward(params, residuals2, (dy[:, 2:], zero))
        early, (dx1, _) = part.backward(params, residuals1, (dy[:, :2], dstate))
        dparams, dx = jax.tree.map(jnp.add, late, early), jnp.concatenate([dx1, dx2], axis=1)
        return jnp.concatenate([y1, y2], axis=1), (dparams, dx)

    y, gradients = compiled(run)(whole, params, x, dy)
    parts_y, parts_gradients = in_two_parts(params, x, dy)
    assert relative_error(parts_y, y) < 1e-14
    assert relative_error(parts_gradients, gradients) < 1e-13


# Backpropagation through time from the textbook: NumPy, one example and one time after another, no vectors of gates.


def loop_elman(p, x, dy):
    wx, wh, b = p
    grads = [np.zeros_like(w) for w in p]
    dx, y = np.zeros_like(x), np.zeros_like(dy)
    for n in range(len(x)):
        hs = [np.zeros(len(wh))]
        for t in range(x.shape[1]):
            hs.append(np.tanh(wx.T @ x[n, t] + wh.T @ hs[-1] + b))
        dh = np.zeros(len(wh))
        for t in reversed(range(x.shape[1])):
            delta = (1 - hs[t + 1] ** 2) * (dy[n, t] + dh)
            for g, term in zip(grads, (np.outer(x[n, t], delta), np.outer(hs[t], delta), delta), strict=True):
                g += term
            dx[n, t], dh = wx @ delta, wh @ delta
        y[n] = hs[1:]
    return y, grads, dx


def loop_jordan(p, x, dy, decay=0.4):
    wx, wc, b, wo, bo = p
    grads = [np.zeros_like(w) for w in p]
    dx, y = np.zeros_like(x), np.zeros_like(dy)
    for n in range(len(x)):
        cs, hs = [np.zeros(len(bo))], []
        for t in range(x.shape[1]):
            hs.append(np.tanh(wx.T @ x[n, t] + wc.T @ cs[-1] + b))
            y[n, t] = sigmoid(wo.T @ hs[-1] + bo)
            cs.append(decay * cs[-1] + y[n, t])
        dc = np.zeros(len(bo))
        for t in reversed(range(x.shape[1])):
            out = y[n, t] * (1 - y[n, t]) * (dy[n, t] + dc)
            delta = (1 - hs[t] ** 2) * (wo @ out)
            terms = (np.outer(x[n, t], delta), np.outer(cs[t], delta), delta, np.outer(hs[t], out), out)
            for g, term in zip(grads, terms, strict=True):
                g += term
            dx[n, t], dc = wx @ delta, decay * dc + wc @ delta
    return y, grads, dx


def loop_gru(p, x, dy):
    wx, wh, b, c = p
    size = len(c)
    W, U, B = (np.split(w, 3, axis=-1) for w in (wx, wh, b))
    gW, gU, gB, gc = ([np.zeros_like(w) for w in ws] for ws in (W, U, B, [c]))
    dx, y = np.zeros_like(x), np.zeros_like(dy)
    for n in range(len(x)):
        steps, h = [], np.zeros(size)
        for t in range(x.shape[1]):
            r, z = (sigmoid(W[k].T @ x[n, t] + U[k].T @ h + B[k]) for k in (0, 1))
            m = U[2].T @ h + c
            cand = np.tanh(W[2].T @ x[n, t] + B[2] + r * m)
            steps.append((h, r, z, m, cand))
            h = (1 - z) * cand + z * h
            y[n, t] = h
        dh = np.zeros(size)
        for t in reversed(range(x.shape[1])):
            h, r, z, m, cand = steps[t]
            e = dy[n, t] + dh
            at_cand = e * (1 - z) * (1 - cand**2)
            at = [at_cand * m * r * (1 - r), e * (h - cand) * z * (1 - z), at_cand]
            at_h = [at[0], at[1], at_cand * r]
            dh = e * z
            for k in range(3):
                gW[k] += np.outer(x[n, t], at[k])
                gU[k] += np.outer(h, at_h[k])
                gB[k] += at[k]
                dx[n, t] += W[k] @ at[k]
                dh = dh + U[k] @ at_h[k]
            gc[0] += at_h[2]
    return y, [np.concatenate(gW, 1), np.concatenate(gU, 1), np.concatenate(gB), gc[0]], dx


def loop_lstm(p, x, dy):
    wx, wh, b = p
    size = len(wh)
    W, U, B = (np.split(w, 4, axis=-1) for w in p)  # i, f, g, o
    gW, gU, gB = ([np.zeros_like(w) for w in ws] for ws in (W, U, B))
    dx, y = np.zeros_like(x), np.zeros_like(dy)
    for n in range(len(x)):
        steps, h, c = [], np.zeros(size), np.zeros(size)
        for t in range(x.shape[1]):
            a = [W[k].T @ x[n, t] + U[k].T @ h + B[k] for k in range(4)]
            i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])
            steps.append((h, c, i, f, g, o))
            c = f * c + i * g
            h = o * np.tanh(c)
            y[n, t] = h
        dh, dc = np.zeros(size), np.zeros(size)
        for t in reversed(range(x.shape[1])):
            h, c, i, f, g, o = steps[t]
            new = np.tanh(f * c + i * g)
            e = dy[n, t] + dh
            dc = dc + e * o * (1 - new**2)
            at = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), e * new * o * (1 - o)]
            dc, dh = dc * f, np.zeros(size)
            for k in range(4):
                gW[k] += np.outer(x[n, t], at[k])
                gU[k] += np.outer(h, at[k])
                gB[k] += at[k]
                dx[n, t] += W[k] @ at[k]
                dh = dh + U[k] @ at[k]
    return y, [np.concatenate(gW, 1), np.concatenate(gU, 1), np.concatenate(gB)], dx


LOOPS = {
    "elman": (elman(H), loop_elman),
    "jordan": (jordan(3, H, output=bp.sigmoid, decay=0.4), loop_jordan),
    "gru": (gru(H), loop_gru),
    "lstm": (lstm(H), loop_lstm),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_cell_equals_the_textbook_loop(name, keys):
    cell, loop = LOOPS[name]
    params, x = made(unroll(cell), (T, D), keys)
    dy = jax.random.normal(next(keys), (N, T, H))
    y, (dparams, dx) = compiled(run)(unroll(cell), params, x, dy)
    expected = loop([np.asarray(p) for p in params], np.asarray(x), np.asarray(dy))
    np.testing.assert_allclose(y, expected[0], rtol=1e-12, atol=1e-14)
    assert relative_error(list(dparams), expected[1]) < 1e-12
    assert relative_error(dx, expected[2]) < 1e-12


def test_backpropagation_through_time_is_real_time_recurrent_learning(keys):
    # Williams & Zipser 1989: P = ∂h/∂θ is carried forward, P′ = diag(1 − h′²) (∂a/∂θ + Whᵀ P); ∇E = Σₜ Pᵀ dyₜ
    params, x = made(unroll(elman(H)), (T, D), keys, examples=1)
    dy = jax.random.normal(next(keys), (1, T, H))
    wx, wh, b = (np.asarray(p) for p in params)
    h, p = np.zeros(H), np.zeros((H, D + H + 1, H))  # of unit i by the weight into unit j from source k: p[i, k, j]
    total = np.zeros((D + H + 1, H))
    for t in range(T):
        source = np.concatenate([np.asarray(x)[0, t], h, [1.0]])
        h = np.tanh(wx.T @ np.asarray(x)[0, t] + wh.T @ h + b)
        immediate = np.einsum("k,ij->ikj", source, np.eye(H))
        p = (1 - h**2)[:, None, None] * (immediate + np.einsum("mi,mkj->ikj", wh, p))
        total += np.einsum("i,ikj->kj", np.asarray(dy)[0, t], p)
    dparams = compiled(run)(unroll(elman(H)), params, x, dy)[1][0]
    assert relative_error(dparams, Recurrent(total[:D], total[D : D + H], total[-1])) < 1e-10


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_truncation_stops_the_error_at_every_block(block, keys):
    params, x = made(unroll(elman(H)), (T, D), keys)
    dy = jax.random.normal(next(keys), (N, T, H))

    def by_jax(params, x):  # a loop with stop_gradient at t = block, 2 block, …
        h, ys = jnp.zeros((N, H)), []
        for t in range(T):
            if t and t % block == 0:
                h = jax.lax.stop_gradient(h)
            h = jnp.tanh(x[:, t] @ params.wx + h @ params.wh + params.b[None, :])
            ys.append(h)
        return jnp.stack(ys, axis=1)

    @quick_jit
    def all_three(params, x, dy):
        y, vjp = jax.vjp(by_jax, params, x)
        truncated = run(unroll(elman(H), truncate=block), params, x, dy)
        return (y, vjp(dy)), truncated, run(unroll(elman(H)), params, x, dy)[1]

    expected, found, full = all_three(params, x, dy)
    assert relative_error(found[0], expected[0]) < 1e-14
    assert relative_error(found[1], expected[1]) < 1e-12
    assert relative_error(found[1], full) > 1e-3


def test_truncation_counts_from_the_first_step_taken(keys):
    # in reverse, with blocks of 2 of T = 3, the steps are t = 2, 1 | 0: dx of t = 1 and 2 knows nothing of dy at t = 0
    layer = unroll(gru(3), truncate=2, reverse=True)
    params, x = made(layer, (3, 2), keys)
    dx = compiled(run)(layer, params, x, jnp.zeros((N, 3, 3)).at[:, 0].set(1.0))[1][1]
    assert (dx[:, 1:] == 0).all() and (dx[:, 0] != 0).all()


@pytest.mark.parametrize("block", [T, T + 3])
def test_truncation_as_long_as_the_sequence_is_none(block, keys):
    params, x = made(unroll(lstm(H)), (T, D), keys)
    dy = jax.random.normal(next(keys), (N, T, H))
    full, cut = (compiled(run)(layer, params, x, dy) for layer in (unroll(lstm(H)), unroll(lstm(H), truncate=block)))
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(full), jax.tree.leaves(cut), strict=True))


# A double integrator of two stages: position q′ = q + v, speed v′ = v + u, from (q, v) = (1, 2), u = (3, −1):
#   s₁ = (3, 5), s₂ = (8, 4).  J = ½ (q₂² + v₂²) + ½ q₁²:  dy₂ = (8, 4), dy₁ = (3, 0), A = [[1, 1], [0, 1]], B = (0, 1)
#   λ₂ = (8, 4)   λ₁ = Aᵀ λ₂ + dy₁ = (8 + 3, 8 + 4) = (11, 12)   λ₀ = Aᵀ λ₁ = (11, 23)   du = Bᵀ λ₁, Bᵀ λ₂ = 12, 4
A, B = jnp.array([[1.0, 1], [0, 1]]), jnp.array([[0.0], [1]])
INTEGRATORS = {
    "dynamics": (dynamics(lambda params, s, u: s @ A.T + u @ B.T, (2,)), ()),
    "stage": (stage(bp.dense(2, use_bias=False), 2), bp.layers.Affine(jnp.concatenate([A.T, B.T]))),
}


@pytest.mark.parametrize("name", INTEGRATORS)
def test_the_states_gradient_is_the_costate(name):
    cell, params = INTEGRATORS[name]
    layer = unroll(cell, with_state=True)
    (y, final), kept = layer.forward(params, (jnp.array([[[3.0], [-1]]]), jnp.array([[1.0, 2]])))
    np.testing.assert_array_equal(y, [[[3, 5], [8, 4]]])
    np.testing.assert_array_equal(final, [[8, 4]])
    _, (du, costate) = layer.backward(params, kept, (jnp.array([[[3.0, 0], [0, 0]]]), jnp.array([[8.0, 4]])))
    np.testing.assert_array_equal(costate, [[11, 23]])
    np.testing.assert_array_equal(du, [[[12], [4]]])


def test_descent_along_the_controls_reaches_the_optimum():
    # min ½ Σ u² + ½ w |s_T|²: in one step by least squares, s_T = F s₀ + G u:  u = −(I + w Gᵀ G)⁻¹ w Gᵀ F s₀
    steps, w, start = 4, 5.0, np.array([1.0, -0.5])
    powers = [np.linalg.matrix_power(np.asarray(A), k) for k in range(steps + 1)]
    g = np.stack([powers[steps - 1 - t] @ np.asarray(B)[:, 0] for t in range(steps)], axis=1)
    best = -np.linalg.solve(np.eye(steps) + w * g.T @ g, w * g.T @ powers[steps] @ start)
    layer = unroll(INTEGRATORS["dynamics"][0], with_state=True)

    def descend(u, _):
        (y, final), kept = layer.forward((), (u, jnp.asarray(start)[None]))
        _, (du, _) = layer.backward((), kept, (jnp.zeros_like(y), w * final))
        return u - 0.01 * (u + du), None

    u, _ = jax.lax.scan(descend, jnp.zeros((1, steps, 1)), length=3000)
    np.testing.assert_allclose(u[0, :, 0], best, rtol=1e-8)


def test_errors_are_propagated_through_the_weights_that_backward_receives(keys):
    # the error of the last of two steps reaches x₀ by δ₁ Bᵀ: with B for Wh, dx₀ = (φ′₀ ⊙ δ₁ Bᵀ) Wxᵀ
    layer = unroll(elman(H))
    params, x = made(layer, (2, D), keys)
    feedback = params._replace(wh=jax.random.normal(next(keys), (H, H)))
    dy = jnp.zeros((N, 2, H)).at[:, 1].set(1.0)

    @quick_jit
    def through(feedback, params, x, dy):
        y, residuals = layer.forward(params, x)
        return y, layer.backward(feedback, residuals, dy)[1]

    y, dx = (np.asarray(a) for a in through(feedback, params, x, dy))
    delta = (1 - y[:, 1] ** 2) * np.asarray(dy)[:, 1]
    expected = ((1 - y[:, 0] ** 2) * (delta @ np.asarray(feedback.wh).T)) @ np.asarray(params.wx).T
    np.testing.assert_allclose(dx[:, 0], expected, rtol=1e-12)


def test_a_replaced_derivative_takes_effect(keys):
    straight = bp.tanh._replace(backward=lambda params, residuals, dy: ((), dy))  # φ′ = 1
    layer = unroll(elman(H, straight))
    params, x = made(layer, (1, D), keys)
    dy = jax.random.normal(next(keys), (N, 1, H))
    found = compiled(run)(layer, params, x, dy)[1]
    assert relative_error(found[1][:, 0], np.asarray(dy)[:, 0] @ np.asarray(params.wx).T) < 1e-14
    exchanged = map_layers(lambda old: straight, unroll(elman(H)))
    assert relative_error(compiled(run)(exchanged, params, x, dy)[1], found) == 0
    both = map_layers(lambda old: straight if old is bp.tanh else old, bidirectional(jordan(2, 3)))
    assert [part.layers for part in both.layers] == [(straight, straight)] * 2


def test_initial_weights():
    key = jax.random.key(3)
    params, out_shape = unroll(lstm(H)).init(key, (T, D))
    assert out_shape == (T, H)
    assert jax.tree.map(jnp.shape, params) == Recurrent((D, 4 * H), (H, 4 * H), (4 * H,))
    np.testing.assert_array_equal(params.b, [0] * H + [1] * H + [0] * 2 * H)  # the forget gate's bias is 1
    for gate in jnp.split(params.wh, 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(H), atol=1e-12)
    shapes = lambda made, in_shape: jax.tree.map(jnp.shape, jax.eval_shape(lambda: made.init(key, in_shape)[0]))
    assert shapes(gru(H), (D,)) == Gru((D, 12), (H, 12), (12,), (H,))
    assert shapes(jordan(H, 2), (D,)) == Jordan((D, H), (2, H), (H,), (H, 2), (2,))
    for last, out_shape in ((False, (T, 5)), (True, (5,))):
        assert bidirectional(gru(2), elman(3), last=last).init(key, (T, D))[1] == out_shape


def test_a_new_cell_needs_three_functions(keys):
    # a leaky sum with a trained leak: s′ = y = k s + x,  ds = k (ds′ + dy),  dk = Σ s (ds′ + dy),  dx = ds′ + dy
    def init(key, in_shape):
        return jnp.full(in_shape, 0.5), in_shape

    def step(k, s, x):
        y = k[None, :] * s + x
        return y, y, s

    def back(k, s, ds, dy):
        e = ds + dy
        return k[None, :] * e, ((s * e).sum(axis=0), e)

    layer = unroll(Cell("leaky sum", (D,), init, step, back))
    params, x = made(layer, (T, D), keys)
    assert vjp_error(layer, params, x, keys) < 1e-13


@pytest.mark.thorough
def test_char_rnn_passes_compare(keys):
    network = char_rnn(5, 4, (lstm(6),))
    rules = compiled_rules(network, bp.softmax_cross_entropy)
    with jax.enable_x64(False):
        params, _ = network.init(next(keys), (7,))
        params = bp.util.cast(params, "float32")
        tokens = jax.random.randint(next(keys), (4, 8), 0, 5)
        report = bp.compare(*rules, params, (tokens[:, :-1], tokens[:, 1:]), show=False, timed=False)
    assert report.ok


def test_a_recurrent_network_counts(keys):
    # x is a row of bits; the target is their parity so far: no network without a state can know it
    network = bp.chain(unroll(gru(8)), bp.over_positions(bp.chain(bp.dense(1), bp.sigmoid)))
    x = jnp.asarray([[(n >> t) & 1 for t in range(4)] for n in range(16)], float)[:, :, None]
    target = jnp.cumsum(x, axis=1) % 2
    rule = bp.backprop(network, bp.squared_error)

    def step(carry, _):
        params, velocity = carry
        grads = rule.grads(params, (), (x, target))[1]
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.05 * g, velocity, grads)
        return (jax.tree.map(jnp.add, params, velocity), velocity), None

    params = network.init(next(keys), (4, 1))[0]
    (params, _), _ = jax.lax.scan(step, (params, jax.tree.map(jnp.zeros_like, params)), length=1500)
    assert float(jnp.abs(network.forward(params, x)[0] - target).max()) < 0.1


LAYER = unroll(lstm(H))
PARAMS = LAYER.init(jax.random.key(0), (T, D))[0]
STATEFUL = unroll(lstm(H), with_state=True)
X = jnp.ones((N, T, D))
STATE = LstmState(jnp.ones((N, H)), jnp.ones((N, H)))
BAD = {
    "rank": (
        lambda: LAYER.forward(PARAMS, jnp.ones((N, D))),
        r"`lstm` expected `x` of shape \(N, T, D\).*got \(2, 3\)",
    ),
    "features": (lambda: LAYER.forward(PARAMS, jnp.ones((N, T, 2))), r"shape \(N, T, 3\), got \(2, 5, 2\)"),
    "no time": (lambda: LAYER.forward(PARAMS, jnp.ones((N, 0, D))), r"at least one example, one time"),
    "integers": (lambda: LAYER.forward(PARAMS, jnp.ones((N, T, D), int)), r"floating-point type, got int64"),
    "another dtype": (
        lambda: LAYER.forward(PARAMS, X.astype(jnp.float32)),
        r"dtype of its weights, float64, got float32",
    ),
    "another cell's params": (
        lambda: LAYER.forward(elman(H).init(jax.random.key(0), (D,))[0], X),
        r"`lstm` expected params Recurrent\(wx=\(D, 16\), wh=\(4, 16\), b=\(16,\)\).*another network",
    ),
    "Jordan's params": (lambda: unroll(jordan(4, 4)).forward(PARAMS, X), r"`jordan` expected params Jordan"),
    "state of another shape": (
        lambda: STATEFUL.forward(PARAMS, (X, jax.tree.map(lambda s: s[:1], STATE))),
        r"`lstm` expected the state LstmState\(h='float64\[2, 4\]'.*got LstmState\(h='float64\[1, 4\]'",
    ),
    "state of another kind": (lambda: STATEFUL.forward(PARAMS, (X, STATE.h)), r"expected the state LstmState"),
    "state of another dtype": (
        lambda: STATEFUL.forward(PARAMS, (X, bp.util.cast(STATE, "float32"))),
        r"got LstmState\(h='float32\[2, 4\]'",
    ),
    "no state": (lambda: STATEFUL.forward(PARAMS, X), r"x as a pair \(sequence, state\), got shape \(2, 5, 3\)"),
    "in_shape without a state": (lambda: STATEFUL.init(jax.random.key(0), (T, D, 1)), r"`in_shape` as a pair"),
    "in_shape with another state": (
        lambda: STATEFUL.init(jax.random.key(0), ((T, D), (H,))),
        r"`lstm` expected a state of shape LstmState\(h=\(4,\), c=\(4,\)\), got \(4,\)",
    ),
    "in_shape": (lambda: LAYER.init(jax.random.key(0), (D,)), r"`unroll` expected an `in_shape` of 2"),
    "truncate": (lambda: unroll(lstm(H), truncate=0), r"`truncate` to be an integer ≥ 1, got 0"),
    "factory not called": (lambda: unroll(lstm), r"expected a Cell, got lstm\. Call it first: `lstm\(\.\.\.\)`"),
    "a layer for a cell": (lambda: unroll(bp.dense(3)), r"expected a Cell, got dense\. Make one"),
    "size": (lambda: gru(0), r"`gru` expected `features` to be an integer ≥ 1, got 0"),
    "outputs": (lambda: jordan(3, 1.5), r"`jordan` expected `outputs`"),
    "decay": (lambda: jordan(3, 1, decay=2.0), r"`decay` to be a finite number ≥ 0 and ≤ 1, got 2.0"),
    "forget bias": (lambda: lstm(3, forget_bias=float("nan")), r"`forget_bias` to be a finite number"),
    "activation": (lambda: elman(3, jnp.tanh), r"`elman` expected a Layer, got tanh"),
    "stage of no layer": (lambda: stage(bp.dense, 3), r"`stage` expected a Layer, got dense\. Call it first"),
    "stage of another size": (
        lambda: unroll(stage(bp.dense(2), 3)).init(jax.random.key(0), (T, D)),
        r"to output the next state, shape \(3,\), got \(2,\)",
    ),
    "dynamics that change the state": (
        lambda: unroll(dynamics(lambda p, s, x: x, (2,))).forward((), X),
        r"`dynamics` expected the function to return a state float64\[2, 2\], got float64\[2, 3\]",
    ),
    "no cells": (lambda: char_rnn(5, cells=()), r"`char_rnn` expected a tuple of at least one cell, got \(\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_clear_sentence(name):
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_that_are_states_are_stored_once(reverse, keys):
    layer = unroll(lstm(3), reverse=reverse)
    params, _ = layer.init(next(keys), (5, 2))
    x = jnp.ones((4, 5, 2))
    (scan,) = [e for e in jax.make_jaxpr(layer.forward)(params, x).eqns if e.primitive.name == "scan"]
    stacked = [v.aval.shape for v in scan.outvars if v.aval.shape[:1] == (5,)]
    assert stacked == [(5, 4, 3)] * 6  # h, c, i, f, g, o; y is the h of the next step
