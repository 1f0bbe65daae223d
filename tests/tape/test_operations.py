"""Counts of operations, worked out by hand, and the bound of reverse mode: 5 times the operations of the function."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bpjax.tape import count_operations, reverse


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def arithmetic(f, *args) -> int:
    return count_operations(f, *args).arithmetic


def both(f, *args, argnums=0) -> tuple[int, int]:
    """Operations of the function, and of value and gradient by the tape."""
    return arithmetic(f, *args), arithmetic(reverse(f, argnums), *args)


# --- Counts of single operations -------------------------------------------------------------------------------------

M, V = spec(3, 4), spec(4)
CASES = {
    "each entry": (lambda a: jnp.tanh(a) * 2.0, (M,), 24),  # 12 tanh, 12 products
    "a repeated input": (lambda a, v: a + v[None, :], (M, V), 12),
    "a change of sign is part of the next sum": (lambda a: 1.0 - (-a), (M,), 12),
    "max(0, a)": (lambda a: jnp.maximum(a, 0.0), (M,), 12),
    "a choice: 12 comparisons": (lambda a: jnp.where(a > 0, a, 0.0), (M,), 12),
    "clamp: two comparisons each": (lambda a: lax.clamp(np.float32(0), a, np.float32(1)), (M,), 24),
    "a sum of n: n − 1": (jnp.sum, (M,), 11),
    "sums of the columns": (lambda a: a.sum(axis=0), (M,), 4 * 2),
    "the maximum of the rows": (lambda a: a.max(axis=1), (M,), 3 * 3),
    "cumulative": (lambda a: lax.cumsum(a, axis=1), (M,), 3 * 3),
    "(m, k) (k, n): m n (2k − 1)": (jnp.matmul, (M, spec(4, 5)), 3 * 5 * 7),
    "a batch of products": (jnp.matmul, (spec(2, 3, 4), spec(2, 4, 5)), 2 * 3 * 5 * 7),
    "an outer product": (jnp.outer, (V, V), 16),
    "a product over no numbers": (jnp.matmul, (spec(3, 0), spec(0, 5)), 0),
    "movement only": (lambda a: jnp.concatenate([a.T.reshape(3, 4), a[::-1]])[1:], (M,), 0),
    "integers": (lambda i: i * 2 + 1, (spec(3, dtype=jnp.int32),), 0),
    "gathered rows": (lambda a, i: a[i], (M, spec(7, dtype=jnp.int32)), 0),
    "scattered sums: one each": (lambda a, i, u: a.at[i].add(u), (M, spec(7, dtype=jnp.int32), spec(7, 4)), 28),
    "windows of 2": (lambda v: lax.reduce_window(v, 0.0, lax.add, (2,), (1,), "VALID"), (V,), 3),
    "sort 4: 4 · 2 − 4 + 1": (jnp.sort, (M,), 3 * 5),
    "sort 3: 3 · 2 − 4 + 1": (jnp.sort, (spec(3),), 3),
    "2 × 2 Cholesky: √, /, −·, √": (lambda a: lax.linalg.cholesky(a, symmetrize_input=False), (spec(2, 2),), 5),
    "LU of 2 × 2: /, ·, −": (lambda a: lax.linalg.lu(a)[0], (spec(2, 2),), 3),
    "LU of 3 × 2": (lambda a: lax.linalg.lu(a)[0], (spec(3, 2),), 2 + 2 * 2 + 1),
    "triangular, 2 right-hand sides": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True), (spec(3, 3), spec(3, 2)), 2 * 9
    ),
    "8 numbers by FFT: 5 · 8 · 3": (jnp.fft.fft, (spec(8, dtype=jnp.complex64),), 120),
    "8 real numbers: half": (jnp.fft.rfft, (spec(8),), 60),
    "a loop: 5 times (a product, a sum)": (lambda x: lax.fori_loop(0, 5, lambda i, c: c * x + 1.0, x), (spec(),), 10),
    "the longer branch": (lambda p, x: lax.cond(p, jnp.sin, lambda x: x * x * x, x), (spec(dtype=bool), spec()), 2),
    "a call; what is not read is not counted": (lambda x: jax.jit(lambda x: (jnp.sin(x), x * x + x))(x)[0], (V,), 4),
    "a custom rule": (jax.nn.relu, (V,), 4),
    "dead code": (lambda x: (jnp.exp(x), x + 1.0)[1], (V,), 4),
}  # fmt: skip


@pytest.mark.parametrize(("f", "args", "expected"), CASES.values(), ids=CASES)
def test_counts_by_hand(f, args, expected):
    assert arithmetic(f, *args) == expected


def test_movement_is_counted_apart():
    counts = count_operations(lambda a: jnp.broadcast_to(a[:, None], (3, 4)) * 2.0, spec(3))
    assert counts == (12, 3 + 12) and (counts.arithmetic, counts.moved) == counts  # (3, 1), then (3, 4)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_a_convolution_is_the_product_of_matrices_that_it_stands_for(padding):
    # x (1, 2, 7), w (3, 2, 3), stride 2. VALID: positions 0, 2, 4: 9 pairs of input and weight, with 2 · 3 channels 54
    # products, less one for each of 3 · 3 results: 2 · 54 − 9. SAME: 4 positions and one number of padding at either
    # end: 12 − 2 = 10 pairs, 60 products, 12 results: 2 · 60 − 12
    conv = lambda x, w: lax.conv_general_dilated(x, w, (2,), padding)
    x, w = spec(1, 2, 7), spec(3, 2, 3)
    products, results = {"VALID": (54, 9), "SAME": (60, 12)}[padding]
    assert arithmetic(conv, x, w) == 2 * products - results
    # The adjoints multiply each pair again, once by the weight and once by the input: zeros between dilated inputs, and
    # padding, are no operations
    dy = jax.eval_shape(conv, x, w)
    dx = arithmetic(lambda x, w, dy: jax.vjp(conv, x, w)[1](dy)[0], x, w, dy)
    dw = arithmetic(lambda x, w, dy: jax.vjp(conv, x, w)[1](dy)[1], x, w, dy)
    assert (dx, dw) == (2 * products - 14, 2 * products - 18)  # 14 inputs and 18 weights, each a sum


def test_what_has_no_count_is_refused_or_given_one():
    with pytest.raises(ValueError, match=r"no rule for the primitive 'eigh'. Pass one: rules=\{'eigh': lambda"):
        count_operations(jnp.linalg.eigh, spec(3, 3))
    rules = {"eigh": lambda equation: 9 * equation.invars[0].aval.shape[-1] ** 3}
    symmetrized = 9 + 9  # jax.numpy takes (a + aᵀ) / 2 first
    assert count_operations(jnp.linalg.eigh, spec(3, 3), rules=rules).arithmetic == symmetrized + 9 * 27
    with pytest.raises(ValueError, match=r"number of iterations of a `while_loop` is not in the jaxpr"):
        count_operations(lambda x: lax.while_loop(lambda x: x < 9, lambda x: x * 2, x), spec())


# --- The gradient of a product of n numbers (Speelpenning's example) -------------------------------------------------


def product(*x):
    return functools.reduce(lambda a, b: a * b, x)


def product_by_scan(x):
    return lax.scan(lambda p, x: (p * x, None), jnp.ones((), x.dtype), x)[0]


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_product_of_n_numbers(n):
    # n − 1 products; backward two more for each: its adjoint times either input. Every value is used once: no sums.
    assert both(product, *[spec()] * n, argnums=tuple(range(n))) == (n - 1, 3 * (n - 1))
    # Of the entries of an array: their adjoints are joined without a sum
    assert both(lambda x: product(*x), spec(n)) == (n - 1, 3 * (n - 1))
    # As a loop it starts at 1: n products, and 2n backward
    assert both(product_by_scan, spec(n)) == (n, 3 * n)


def test_forward_mode_multiplies_the_cost_of_a_product_by_n():
    # n directions at a time, each with the product rule, two products and a sum, beside the n products of the function
    for n in (2, 10, 40):
        assert arithmetic(jax.jacfwd(product_by_scan), spec(n)) == n + 3 * n * n


# --- Dense and sparse nets, one example ------------------------------------------------------------------------------


def squared_error(y, target):
    """½ Σ e², e = y − t: K differences, K squares, K − 1 sums, a product: 3K. Backward: ½, then 2 e ½: 1 + 2K."""
    e = y - target
    return 0.5 * jnp.sum(e * e)


def dense_net(params, x, target):
    for w, b in params:
        x = jnp.tanh(x @ w + b)
    return squared_error(x, target)


@pytest.mark.parametrize("sizes", [(2, 2, 1), (10, 5, 10), (8, 16, 16, 3)], ids=str)
def test_dense_nets(sizes):
    # A layer D → H. Forward: H (2D − 1) in the product, H biases, H tanh: H (2D + 1).
    # Backward: (1 − y) (1 + y) dy: 4H; dW = x dyᵀ: D H; dx = W dy: D (2H − 1), not for the first layer.
    # The error: 3K and, backward, ½ · 1, then both factors of e · e: 1 + 2K, and their sum: K.
    layers = list(itertools.pairwise(sizes))
    params = [(spec(d, h), spec(h)) for d, h in layers]
    forward = sum(h * (2 * d + 1) for d, h in layers) + 3 * sizes[-1]
    backward = sum(4 * h + d * h for d, h in layers) + sum(d * (2 * h - 1) for d, h in layers[1:]) + 1 + 3 * sizes[-1]
    found = both(dense_net, params, spec(sizes[0]), spec(sizes[-1]))
    assert found == (forward, forward + backward)
    assert found[1] <= 5 * found[0]


def sparse_net(params, x, target, edges, sizes):
    for w, (source, destination), size in zip(params, edges, sizes[1:], strict=True):
        x = jnp.tanh(jnp.zeros(size).at[destination].add(w * x[source]))
    return squared_error(x, target)


@pytest.mark.parametrize("num_edges", [3, 12, 50])
def test_sparse_nets_cost_what_their_edges_cost(num_edges):
    # E edges to H units. Forward: E products, E sums, H tanh. Backward: 4H; dw = x dy: E; dx: E products and E sums,
    # but in the first layer. Units that no edge leaves, and the weights that only a dense net has, cost nothing.
    sizes, random = (40, 30, 20), np.random.default_rng(num_edges)
    edges = [tuple(random.integers(0, n, num_edges) for n in pair) for pair in itertools.pairwise(sizes)]
    f = functools.partial(sparse_net, edges=edges, sizes=sizes)
    forward = sum(2 * num_edges + h for h in sizes[1:]) + 3 * 20
    backward = sum(4 * h + num_edges for h in sizes[1:]) + 2 * num_edges + 1 + 3 * 20
    assert both(f, [spec(num_edges)] * 2, spec(40), spec(20)) == (forward, forward + backward)


# --- Griewank's bound ------------------------------------------------------------------------------------------------


def helmholtz(x, a, b):
    """Griewank's Helmholtz energy of a mixture of gases, R T = 1.

    Σᵢ xᵢ log(xᵢ / (1 − bᵀx)) − xᵀA x / (√8 bᵀx) log((1 + (1 + √2) bᵀx) / (1 + (1 − √2) bᵀx)).
    """
    bx, root = b @ x, math.sqrt(2)
    mixing = jnp.sum(x * jnp.log(x / (1 - bx)))
    return mixing - (x @ a) @ x / (math.sqrt(8) * bx) * jnp.log((1 + (1 + root) * bx) / (1 + (1 - root) * bx))


def counts_of_helmholtz(n):
    args = spec(n), spec(n, n), spec(n)
    return *both(helmholtz, *args), arithmetic(jax.jacfwd(helmholtz), *args)


def polynomial(values: dict[int, int], n: int) -> float:
    """The polynomial of lowest degree through given integer values, at n."""
    return float(np.polyval(np.polyfit(list(values), list(values.values()), len(values) - 1), n))


def test_reverse_mode_of_helmholtz_costs_a_constant_multiple_and_forward_mode_n_times_as_much():
    # The function: xᵀA 2n² − n, times x 2n − 1, bᵀx 2n − 1, the n quotients, logarithms and products, their n − 1 sums,
    # and 11 operations on scalars: 2n² + 7n + 8. Backward, x reads A once more for its second use: 4n² in all.
    function, reversed_, forward = zip(*map(counts_of_helmholtz, (1, 2, 3, 4, 50, 100)), strict=True)
    sizes = (1, 2, 3, 4, 50, 100)
    assert function == tuple(2 * n * n + 7 * n + 8 for n in sizes)
    for counts, degree, leading in ((reversed_, 2, 4), (forward, 3, 2)):
        known = dict(zip(sizes[: degree + 1], counts, strict=False))
        for n, count in zip(sizes, counts, strict=True):
            assert polynomial(known, n) == pytest.approx(count, rel=1e-9)  # of this degree, at all n
        assert counts[-1] / sizes[-1] ** degree == pytest.approx(leading, rel=0.1)
    ratios = [r / f for r, f in zip(reversed_, function, strict=True)]
    assert max(ratios) <= 3 and ratios[-1] < 2.05  # falls to 2
    slope = [f / g / n for n, f, g in zip(sizes, forward, function, strict=True)]
    assert slope[-1] == pytest.approx(1, abs=0.06)  # n times


OPERATIONS = {
    "+": (2, lambda a, b: a + b),
    "−": (2, lambda a, b: a - b),
    "×": (2, lambda a, b: a * b),
    "/": (2, lambda a, b: a / b),
    "exp": (1, jnp.exp),
    "log": (1, jnp.log),
    "sin": (1, jnp.sin),
    "cos": (1, jnp.cos),
    "tanh": (1, jnp.tanh),
    "√": (1, jnp.sqrt),
    "logistic": (1, lax.logistic),
}


def random_program(seed: int, length: int):
    """A scalar function of numbers: each operation reads inputs or earlier results; the sum of its last ones."""
    random = np.random.default_rng(seed)
    steps = [(str(random.choice(list(OPERATIONS))), random.random(2)) for _ in range(length)]

    def program(*x):
        values = list(x)
        for name, places in steps:
            arity, operation = OPERATIONS[name]
            values.append(operation(*(values[int(place * len(values))] for place in places[:arity])))
        return functools.reduce(lambda a, b: a + b, values[-length:])

    return program


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_and_its_reverse_take_at_most_five(name):
    # A step that reads values in use elsewhere: itself, its derivatives with the products, a sum for each input.
    arity, operation = OPERATIONS[name]
    args = [spec()] * arity
    without = lambda *x: functools.reduce(lambda a, b: a * b, (*x, *x))
    whole = lambda *x: without(*x) * operation(*x)
    argnums = tuple(range(arity))
    (function, gradient), (function_without, gradient_without) = (
        both(f, *args, argnums=argnums) for f in (whole, without)
    )
    assert function - function_without == 2
    product = 3  # the last product and its two adjoints; its sums are those of the inputs
    cost = gradient - gradient_without - product
    assert cost <= (6 if name == "tanh" else 5)  # 1 − y² as (1 − y) (1 + y), for its digits where y is close to 1


@pytest.mark.parametrize("num_inputs", [1, 7, 60])
def test_five_times_the_function_whatever_the_number_of_inputs(num_inputs):
    worst = 0.0
    for seed in range(8):
        args = [spec()] * num_inputs
        function, gradient = both(random_program(seed, 30), *args, argnums=tuple(range(num_inputs)))
        assert gradient <= 5 * function
        worst = max(worst, gradient / function)
    assert worst > 2  # the programs are no trivial ones
