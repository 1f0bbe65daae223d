"""Loops and branches on the tape, iteration by iteration: the adjoint of every value, checked by perturbing it."""

import jax
import jax.numpy as jnp
import numpy as np
from oracles import relative_error

from bpjax.tape import Tape, tape


def recurrent(ws, x0, h0, bump):
    """A loop whose states h and outputs y can be perturbed: bump[0] is added to h, bump[1] to y."""

    def step(h, scanned):
        w, b = scanned
        h = jnp.tanh(w @ h + x0) + b[0]
        y = h * h[0] + b[1]
        return h, (y, h[1] * 2)

    last, (ys, zs) = jax.lax.scan(step, h0, (ws, bump), reverse=True)
    return jnp.sum(last**3) + jnp.sum(jnp.sin(ys)) + jnp.sum(zs * jnp.arange(4.0))


def test_adjoints_of_every_iteration_are_derivatives_by_the_values():
    """∂f/∂hₜ and ∂f/∂yₜ are the gradient by a term that is added to hₜ and yₜ."""
    ws, x0 = jax.random.normal(jax.random.key(0), (4, 2, 2)), jnp.array([0.1, -0.3])
    h0, bump = jnp.array([0.5, 0.2]), jnp.zeros((4, 2, 2))
    t = tape(recurrent, ws, x0, h0, bump)
    value, gradient = jax.value_and_grad(recurrent, (0, 1, 2, 3))(ws, x0, h0, bump)
    assert relative_error((t.value, tuple(t.gradient.values())), (value, gradient)) < 1e-13
    d_h, d_y = gradient[3][::-1, 0], gradient[3][::-1, 1]  # the loop runs from the last to the first
    assert relative_error(jnp.stack([h.adjoint for h in t["h"]]), d_h) < 1e-13
    assert relative_error(jnp.stack([y.adjoint for y in t["y"]]), d_y) < 1e-13
    assert relative_error(t["ys"].adjoint, gradient[3][:, 1]) < 1e-13
    assert (
        t["scanned[0]"][0].entry.symbol == "ws[3]"
        and relative_error(t["scanned[0]"][0].adjoint, gradient[0][3]) < 1e-13
    )
    assert t["h"][2].entry.path == ("scan step, iteration 2",) and t["ys"].entry.depth == 1


def test_loops_without_iterations_and_without_inputs():
    def f(xs, c):
        def step(c, x):
            return c * 2, c * x

        c, ys = jax.lax.scan(step, c, xs)
        c = jax.lax.while_loop(lambda c: c > 100, lambda c: c * 2, c)
        c, _ = jax.lax.scan(lambda c, _: (c * c, None), c, None, length=2)
        return c + jnp.sum(ys)

    t = tape(f, jnp.zeros(0), 3.0)
    assert t.gradient["xs"].shape == (0,) and float(t.gradient["c"]) == 4 * 3**3 and float(t.value) == 81
    assert [entry.operation for entry in t] == ["stack", "gt", "mul", "mul", "reduce_sum", "add"]


def test_a_while_loop_whose_length_is_known_only_at_run_time():
    """x, 2x, 4x, … below 10: for x = 1.5 three doublings, so dy/dx = 8 · 2 · 12."""

    def f(x):
        doubled = jax.lax.while_loop(lambda x: x < 10, lambda x: x * 2, x)
        return doubled**2

    t = tape(f, 1.5)
    assert float(t.value) == 144 and float(t.gradient["x"]) == 8 * 2 * 12
    adjoints = [float(entry.adjoint) for entry in t if entry.operation == "mul"]
    assert adjoints == [4 * 24, 2 * 24, 24] and [e.operation for e in t].count("lt") == 4
    assert t[0].adjoint is None and not t[0].value.shape and t["doubled"].value == 12


def test_only_the_branch_that_is_taken():
    def f(index, x):
        return jax.lax.switch(index, [jnp.sin, lambda x: jnp.exp(x) * x, jnp.cos], x)

    for index, wanted in ((-3, ["sin"]), (0, ["sin"]), (1, ["exp", "mul"]), (2, ["cos"]), (9, ["cos"])):
        t = tape(f, np.int32(index), 0.7)
        inside = [entry for entry in t if entry.depth]
        assert [entry.operation for entry in inside] == wanted
        assert inside[0].path == (f"branch {min(max(index, 0), 2)} of 3",)
        assert relative_error(t.gradient["x"], jax.grad(f, 1)(index, 0.7)) < 1e-15


def test_keys_checkpoints_and_nested_loops():
    def f(x, keys):
        @jax.checkpoint
        def inner(x, key):
            return jnp.sin(x) * jax.random.uniform(key, ())

        def outer(c, key):
            c = jax.lax.fori_loop(0, 2, lambda k, c: c + inner(c, key) * k, c)
            return c, key

        c, same = jax.lax.scan(outer, x, keys)
        return c * jax.random.uniform(same[1], ())

    keys = jax.random.split(jax.random.key(3), 3)
    t = tape(f, 0.4, keys)
    value, gradient = jax.value_and_grad(f)(0.4, keys)
    assert relative_error((t.value, t.gradient["x"]), (value, gradient)) < 1e-14
    assert max(entry.depth for entry in t) >= 3
    assert "scan outer, iteration 2" in {entry.path[0] for entry in t if entry.path}


def test_the_sweep_of_a_loop_is_linear_in_its_length():
    """Each slice of the scanned input gets its adjoint once: 8 times the iterations, 8 times the entries of arrays."""

    def touched(length):
        counts = []
        original = Tape.record(lambda xs: jax.lax.scan(lambda c, x: (c + x * x, c), 0.0, xs)[0], (jnp.ones(length),))
        for value in original._recorded.origin:
            summands = original._adjoints.summands(value)
            counts.append(sum(s.size for s in summands))
        return sum(counts)

    assert touched(80) <= 8 * touched(10)


def test_half_precision_loops_keep_their_dtype():
    def f(x):
        c, ys = jax.lax.scan(lambda c, x: (c * x, c), jnp.ones((), x.dtype), x)
        return c + jnp.sum(ys)

    for dtype in (jnp.float16, jnp.bfloat16):
        t = tape(f, jnp.array([0.5, 2, 4], dtype))
        assert {str(e.value.dtype) for e in t if e.operation in ("index", "mul", "stack")} == {jnp.dtype(dtype).name}
        assert t.gradient["x"].dtype == dtype and t.gradient["x"].tolist() == [11, 2.5, 1]  # by hand: x₁x₂ + 1 + x₁, …
