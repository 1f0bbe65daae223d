"""Sparse affine layers: weights on given edges only, so that work and memory grow with the number of edges."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.edges import Edges, check_edges, rows_by, sum_along
from bpjax.layers.initializers import Initializer, drawn_in_groups, initializer, lecun_normal, zeros
from bpjax.layers.layer import Kind, Layer, check_in_shape
from bpjax.layers.params import check_params
from bpjax.types import Array
from bpjax.util.checks import check_features, check_flag, check_same_dtype
from bpjax.util.precision import widen

SMALL = 1024
"""Up to this many edges dw is one sum over all examples; above it a CPU scans over examples, each fits its cache."""


class SparseAffine(NamedTuple):
    """The parameters of a sparse affine map."""

    w: Array  # (E,) weight of each edge
    b: Array | None = None  # (H,) bias, the weight from the on-neuron; None without bias


def sparse(
    edges: Edges,
    use_bias: bool = True,
    weights: str | Initializer = lecun_normal,
    biases: str | Initializer = zeros,
) -> Layer:
    """A dense layer in which most weights are absent, x (N, D) to y (N, H).

    forward    yₕ = Σₑ wₑ x[sourceₑ] over the edges into h, + bₕ                          E multiply-adds an example
    backward   dwₑ = Σₙ x[n, sourceₑ] dy[n, targetₑ]     db = Σₙ dyₙ                      E
               dxᵢ = Σₑ wₑ dy[targetₑ] over the edges out of i                            E

    The gradient costs two more passes over the existing edges, as in any graph of operations (Linnainmaa 1970; BIT 16,
    1976). A matrix with zeros costs three passes over D · H entries instead.

    Edges are made by `random_edges`, `banded_edges` or `edges_from_mask`; their order does not matter. The output of a
    unit without edges is its bias; dx of an input without edges is 0. Initial weights are those of a dense layer with
    as many inputs as a unit has edges, and as many outputs as an input has on average, m: units with k edges are drawn
    in matrices (k, m). Residuals: x.

    Args:
        edges: Which input feeds which unit; fixed, not learnt.
        use_bias: Whether there is a bias b.
        weights: The initializer of w, or the name of one.
        biases: The initializer of b, or the name of one.

    Raises:
        ValueError: an edge is out of range or given twice; in `init`, the number of inputs is not that of the edges;
            in `forward`, `x` is not (N, D), is empty or has another dtype than the weights, or the params belong to
            another layer.
    """
    edges = check_edges("sparse", edges)
    use_bias = check_flag("sparse", "use_bias", use_bias)
    weights, biases = initializer(weights), initializer(biases)
    source, target, inputs, outputs = edges
    shapes = {"w": (len(source),), "b": (outputs,) if use_bias else None}
    by_unit, by_input = rows_by(target, outputs), rows_by(source, inputs)

    def init(key, in_shape):
        if check_in_shape("sparse", in_shape, rank=1) != (inputs,):
            raise ValueError(
                f"`sparse` with edges from {inputs} inputs expected `in_shape` ({inputs},), got {in_shape}."
            )
        key_w, key_b = jax.random.split(key)
        dtype = jnp.result_type(float)
        b = biases(key_b, (outputs,), dtype) if use_bias else None
        return SparseAffine(initial_weights(key_w, dtype), b), (outputs,)

    def initial_weights(key, dtype):
        outputs_per_input = max(1, round(len(source) / len(np.unique(source))))
        w, count = jnp.zeros(len(target), dtype), np.bincount(target, minlength=outputs)
        edge = np.argsort(target, kind="stable")  # edges sorted by unit
        for k in np.unique(count[count > 0]):
            units = edge[count[target[edge]] == k].reshape(-1, k)
            blocks = -(-len(units) // outputs_per_input)
            shape = (int(k), blocks * outputs_per_input)
            drawn = drawn_in_groups(weights, jax.random.fold_in(key, int(k)), shape, blocks, dtype)
            w = w.at[units].set(drawn[:, : len(units)].T)
        return w

    def forward(params, x):
        check_params(f"`sparse` with {len(source)} edges", params, SparseAffine, shapes)
        x = check_features("sparse", x, inputs)
        check_same_dtype("sparse", x, params.w)
        y = sum_along(widen(params.w), widen(x).T, source, by_unit).T
        return (y + widen(params.b)[None, :] if use_bias else y).astype(x.dtype), x

    def backward(params, x, dy):
        dw = products_summed(widen(x), widen(dy)).astype(params.w.dtype)
        db = widen(dy).sum(axis=0).astype(params.b.dtype) if use_bias else None
        dx = sum_along(widen(params.w), widen(dy).T, target, by_input).T
        return SparseAffine(dw, db), dx.astype(x.dtype)

    def products_summed(x, dy):
        """Σₙ x[n, source] dy[n, target], (E,)."""

        def at_once(x, dy):
            return (x[:, source] * dy[:, target]).sum(axis=0)

        def one_at_a_time(x, dy):
            add = lambda dw, example: (dw + example[0][source] * example[1][target], None)
            return jax.lax.scan(add, jnp.zeros(len(source), x.dtype), (x, dy), unroll=min(8, len(x)))[0]

        if len(source) <= SMALL:
            return at_once(x, dy)
        return jax.lax.platform_dependent(x, dy, cpu=one_at_a_time, default=at_once)

    arguments = f"{len(source)} edges from {inputs} to {outputs}"
    return Layer("sparse", init, forward, backward, Kind.AFFINE, arguments=arguments)
