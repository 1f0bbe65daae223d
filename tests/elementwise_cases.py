"""A case for every elementwise entry of the table of derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from derivative_laws import Case, Cases, between, complex_normal, normal
from jax import lax

newest: Any = lax  # for functions that JAX 0.10 does not have
NEWEST = jax.__version_info__ >= (0, 12)
X, Y = normal(2, 3), normal(2, 3, seed=5)
POSITIVE, UNIT = between(0.5, 3, 2, 3), between(-0.9, 0.9, 2, 3)
A, B = between(0.5, 3, 2, 3, seed=1), between(0.5, 3, 2, 3, seed=2)
Z, W = complex_normal(2, 3), complex_normal(2, 3, seed=7)
INTEGERS = np.array([[0, 1, 2], [3, -1, -2]])


UNARY = {
    "neg": (lax.neg, X), "abs": (lax.abs, X), "square": (lax.square, X), "sqrt": (lax.sqrt, POSITIVE),
    "rsqrt": (lax.rsqrt, POSITIVE), "cbrt": (lax.cbrt, X), "exp": (lax.exp, X), "exp2": (lax.exp2, X),
    "expm1": (lax.expm1, X), "log": (lax.log, POSITIVE), "log1p": (lax.log1p, UNIT), "logistic": (lax.logistic, X),
    "sin": (lax.sin, X), "cos": (lax.cos, X), "tan": (lax.tan, X), "asin": (lax.asin, UNIT),
    "acos": (lax.acos, UNIT), "atan": (lax.atan, X), "sinh": (lax.sinh, X), "cosh": (lax.cosh, X),
    "tanh": (lax.tanh, X), "asinh": (lax.asinh, X), "acosh": (lax.acosh, 1 + POSITIVE), "atanh": (lax.atanh, UNIT),
    "erf": (lax.erf, X), "erfc": (lax.erfc, X), "erf_inv": (lax.erf_inv, UNIT), "lgamma": (lax.lgamma, POSITIVE),
    "digamma": (lax.digamma, POSITIVE), "bessel_i0e": (lax.bessel_i0e, X), "bessel_i1e": (lax.bessel_i1e, X),
    "floor": (lax.floor, X), "ceil": (lax.ceil, X), "round": (lax.round, X), "sign": (lax.sign, X),
    **({"log2": (newest.log2, POSITIVE), "one_minus_square": (newest.one_minus_square, X)} if NEWEST else {}),
}  # fmt: skip
HOLOMORPHIC = (
    "neg square sqrt rsqrt exp exp2 expm1 log log1p logistic sin cos tan asin acos atan sinh cosh tanh asinh atanh"
).split()
BINARY = {
    "add": (lax.add, X, Y), "sub": (lax.sub, X, Y), "mul": (lax.mul, X, Y), "div": (lax.div, X, POSITIVE),
    "rem": (lax.rem, POSITIVE * (INTEGERS + 0.4), POSITIVE), "pow": (lax.pow, POSITIVE, Y),
    "atan2": (lax.atan2, X, Y), "max": (lax.max, X, Y), "min": (lax.min, X, Y), "igamma": (lax.igamma, A, B),
    "igammac": (lax.igammac, A, B), "complex": (lax.complex, X, Y),
}  # fmt: skip
OLD_SIGN = "" if NEWEST else "JAX 0.10 takes the derivative of x / |x| as 0"
OLD_ACOSH = "" if NEWEST else "JAX 0.10 has the wrong sign where Re x < 0"
OTHERS = [
    Case("add_any", lambda x: jax.vjp(lambda x: (x, x), x)[1]((x, 2 * x))[0], X),
    Case("mul", lax.mul, X, np.array(0.7), name="mul by a scalar"),
    Case("div", lax.div, np.array(0.7), POSITIVE, name="div of a scalar"),
    Case("max", lax.max, np.array(0.1), X, name="max of a scalar"),
    Case("mul", jnp.multiply, X, normal(1, 3), name="mul along an axis"),
    Case("pow", lax.pow, X, INTEGERS, name="pow of integers"),
    Case("pow", lambda x: lax.pow(x, 3), X, name="pow of a literal"),
    Case("pow", lambda y: lax.pow(jnp.asarray(2.0, y.dtype), y), Y, name="pow of a scalar"),
    *(
        Case("integer_pow", lambda x, k=k: lax.integer_pow(x, k), POSITIVE, name=f"integer_pow {k}")
        for k in (-2, 0, 1, 2, 5)
    ),
    Case("polygamma", lambda x: lax.polygamma(jnp.ones_like(x), x), POSITIVE),
    Case(
        "zeta",
        lambda q: lax.zeta(jnp.full_like(q, 3), q),
        A,
        reference=lambda q: lax.polygamma(2 * jnp.ones_like(q), q) / -2,
    ),
    Case(
        "regularized_incomplete_beta",
        lambda x: lax.betainc(jnp.asarray(A, x.dtype), jnp.asarray(B, x.dtype), x),
        between(0.1, 0.9, 2, 3),
    ),
    Case("nextafter", lax.nextafter, X, Y, reference=lambda x, y: x),
    Case(
        "clamp",
        lax.clamp,
        np.array(-0.5),
        X,
        np.array(0.5),
        name="clamp between scalars",
        reference=lambda low, x, high: lax.clamp(low + 0 * x, x, high + 0 * x),
    ),
    Case("clamp", lax.clamp, Y - 1, X, Y + 1),
    Case("select_n", lax.select_n, X > 0, X, Y),
    Case("select_n", lax.select_n, np.array(True), X, Y, name="select_n by a scalar"),
    Case("select_n", lax.select_n, np.abs(INTEGERS).astype(np.int32) % 3, X, Y, X + Y, name="select_n of three"),
    Case("real", lax.real, Z),
    Case("imag", lax.imag, Z),
    Case("conj", lax.conj, Z),
    Case("conj", lax.conj, X, name="conj real"),
    Case("abs", lax.abs, Z, name="abs complex"),
    Case("sign", lax.sign, Z, name="sign complex", unlike_jax=OLD_SIGN),
    Case("acosh", lax.acosh, Z, name="acosh complex", unlike_jax=OLD_ACOSH),
    Case("mul", lax.mul, Z, W, name="mul complex"),
    Case("div", lax.div, Z, W, name="div complex"),
    Case("pow", lax.pow, Z, W, name="pow complex"),
    Case("integer_pow", lambda x: lax.integer_pow(x, 3), Z, name="integer_pow complex"),
    Case("convert_element_type", lambda x: 3 * x.astype(jnp.float32), X, truncation=1e6),
    Case("convert_element_type", lambda x: x.astype(jnp.complex128), X, name="convert_element_type to complex"),
    Case("reduce_precision", lambda x: lax.reduce_precision(x, 11, 52), X),
    Case("copy", jnp.copy, X),
    Case("optimization_barrier", lambda x, y: [x * a for a in lax.optimization_barrier((x, y))], X, Y),
    Case(
        "optimization_barrier", lambda x: lax.optimization_barrier((x * x, 3))[0], X, name="optimization_barrier of one"
    ),
    Case("stop_gradient", lax.stop_gradient, X, truncation=np.inf),
    Case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, x.dtype), X, truncation=np.inf),
]
if NEWEST:
    OTHERS += [Case("polynomial", lambda x, a, b, c, d: newest.polynomial(x, (a, b, c, d)), X, Y, A, np.array(0.3), B)]
CASES = Cases(
    [
        *(Case(name, *case) for name, case in (UNARY | BINARY).items()),
        *(Case(name, UNARY[name][0], Z, name=f"{name} complex") for name in HOLOMORPHIC),
        *OTHERS,
    ]
)
