"""Wrong derivatives of whole statements: sigmoids, tanh and softmax written by hand."""

import jax.numpy as jnp

from bpjax.gradcheck.alternatives.record import Alternative, Situation


def of_statement(ndim: int) -> list[Alternative]:
    """Wrong derivatives of a whole statement y = f(x), x and y of one shape: of sigmoids, tanh and softmax by hand."""

    def weighted(s: Situation, axis, keepdims=True):
        return jnp.sum(s.dz * s.z, axis=axis, keepdims=keepdims)

    def entry(mistake: str, text: str, compute) -> Alternative:
        return Alternative(mistake, text, compute)

    found = [
        entry("derivative missing", "the derivative is missing", lambda s: s.dz),
        entry("derivative incomplete", "the derivative is y alone", lambda s: s.dz * s.z),
        entry("derivative incomplete", "the derivative is 1 − y alone", lambda s: s.dz * (1 - s.z)),
        entry("derivative incomplete", "the derivative is y (1 − y)", lambda s: s.dz * s.z * (1 - s.z)),
        entry("derivative incomplete", "the derivative is 1 − y²", lambda s: s.dz * (1 - s.z**2)),
    ]
    x = "derivative of the wrong quantity"
    found.append(
        entry(x, "the derivative is x (1 − x), not y (1 − y)", lambda s: s.dz * s.inputs[0] * (1 - s.inputs[0]))
    )
    for axis in range(ndim):
        if ndim > 1:
            text = f"y (dy − Σ y dy) is summed along axis {axis}"
            found.append(entry("wrong axis", text, lambda s, axis=axis: s.z * (s.dz - weighted(s, axis))))
        text = "the factor y of y (dy − Σ y dy) is missing"
        found.append(entry("derivative incomplete", text, lambda s, axis=axis: s.dz - weighted(s, axis)))
    return found


def without_keepdims(s: Situation):
    """Softmax: y (dy − Σ y dy), where the sum lost its axis and is broadcast along the other."""
    return s.z * (s.dz - jnp.sum(s.dz * s.z, axis=-1)[None])
