"""The special functions of the LLVM compiler: errors in ULP against mpmath, and the same special values as JAX."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from llvm_evaluation import evaluated

from bpjax.sweeps.lanes.llvm.dtypes import Unsupported

FUNCTIONS = {
    "exp": (jnp.exp, mpmath.exp, (-86.9, 88.6)),
    "logistic": (jax.nn.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), (-86.9, 30)),
    "tanh": (jnp.tanh, mpmath.tanh, (-10, 10)),
    "expm1": (jnp.expm1, mpmath.expm1, (-20, 88)),
    "log": (jnp.log, mpmath.log, (1e-30, 1e30)),
    "log1p": (jnp.log1p, mpmath.log1p, (-0.999, 1e6)),
    "erf": (jax.lax.erf, mpmath.erf, (-7, 7)),
    "erfc": (jax.lax.erfc, mpmath.erfc, (-5, 9)),
    "erf_inv": (jax.lax.erf_inv, mpmath.erfinv, (-0.9999999, 0.9999999)),
}
MOST = {
    "exp": (1.0, 1.0), "logistic": (2.0, 2.0), "tanh": (2.5, 2.5), "expm1": (0.51, 1.5), "log": (0.51, 1.0),
    "log1p": (0.51, 1.0), "erf": (0.51, 1.5), "erfc": (0.51, 5.0), "erf_inv": (0.51, 4.0),
}  # fmt: skip
"""The largest error in ULP, float32 and float64: what the table in docs/sweeps.md says."""
EDGES = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-7, -1e-7, 89.0, -89.0, 710.0, -710.0, -2.0, 1e30, -1e30]


def samples(interval, dtype):
    """Numbers of an interval, evenly and by magnitude."""
    rng, (low, high) = np.random.default_rng(0), interval
    small = 10.0 ** rng.uniform(-12, 0, 100) * rng.choice([-1, 1], 100)
    even = rng.uniform(low, high, 150)
    sizes = 10.0 ** rng.uniform(np.log10(max(low, 1e-3)), np.log10(high), 100)
    values = np.concatenate([small, even, sizes]).astype(dtype)
    return values[(values >= low) & (values <= high)]


def ulps(ours, exact, dtype):
    """|ours - exact| in units of the last place of `exact`."""
    found = []
    for value, truth in zip(ours.tolist(), exact, strict=True):
        ulp = float(np.spacing(np.abs(dtype(float(truth)))))
        found.append(float(abs(mpmath.mpf(value) - truth)) / ulp)
    return max(found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_in_ulp(dtype):
    arrays = {name: samples(interval, dtype) for name, (_, _, interval) in FUNCTIONS.items()}
    length = max(map(len, arrays.values()))
    padded = [np.resize(array, length) for array in arrays.values()]
    ours = evaluated(lambda *xs: [f(x) for (f, _, _), x in zip(FUNCTIONS.values(), xs, strict=True)], *padded)
    with mpmath.workdps(40):
        for (name, (_, truth, _)), result in zip(FUNCTIONS.items(), ours, strict=True):
            x = arrays[name]
            worst = ulps(result[: len(x)], [truth(mpmath.mpf(v)) for v in x.tolist()], dtype)
            print(f"{name} {np.dtype(dtype)}: {worst:.2f} ULP")
            assert worst <= MOST[name][dtype is np.float64], name


def test_errors_of_sine_and_cosine_in_ulp():
    """In float32, up to the largest number; float64 has no rule."""
    x = np.concatenate([samples((-50, 3e38), np.float32), np.array([3.4028235e38, 1e22, 2.0**20, 355.0], np.float32)])
    ours = evaluated(lambda x: [jnp.sin(x), jnp.cos(x)], x)
    with mpmath.workdps(80):
        for result, truth in zip(ours, (mpmath.sin, mpmath.cos), strict=True):
            assert ulps(result, [truth(mpmath.mpf(v)) for v in x.tolist()], np.float32) <= 0.51
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    sine, cosine = evaluated(lambda x: [jnp.sin(x), jnp.cos(x)], edges)
    assert np.signbit(sine[:2]).tolist() == [False, True] and np.isnan([*sine[2:], *cosine[2:]]).all()
    assert cosine[:2].tolist() == [1.0, 1.0]
    with pytest.raises(Unsupported, match="sin and cos of float64"):
        evaluated(jnp.sin, x.astype(float))


def test_error_of_powers_in_ulp():
    """In float32; float64 has no rule."""
    rng = np.random.default_rng(1)
    x, y = (10 ** rng.uniform(-3, 3, 300)).astype(np.float32), rng.uniform(-12, 12, 300).astype(np.float32)
    (ours,) = evaluated(lambda x, y: x**y, x, y)
    with mpmath.workdps(40):
        exact = [mpmath.power(mpmath.mpf(a), mpmath.mpf(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        assert ulps(ours, exact, np.float32) <= 0.51
    with pytest.raises(Unsupported, match="pow of float64"):
        evaluated(lambda x, y: x**y, x.astype(float), y.astype(float))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values_are_those_of_jax(dtype):
    x = np.array(EDGES, dtype)
    functions = [f for f, _, _ in FUNCTIONS.values()]
    theirs = jax.jit(lambda x: [f(x) for f in functions])(x)
    for name, ours, other in zip(FUNCTIONS, evaluated(lambda x: [f(x) for f in functions], x), theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-37, err_msg=name)
        is_number = ~np.isnan(ours)
        np.testing.assert_array_equal(np.signbit(ours)[is_number], np.signbit(other)[is_number], err_msg=name)
