"""The table of rules: how each JAX primitive is evaluated for all runs."""

import jax.numpy as jnp

from bpjax.sweeps.lanes import contractions, control_flow, elementwise
from bpjax.sweeps.lanes.interpreter import PrimitiveRule
from bpjax.util.jaxprs import CALL_JAXPR, ELEMENTWISE

SAME_AXES = (
    "argmax argmin concatenate cumlogsumexp cummax cummin cumprod cumsum reduce_prod reduce_xor sort split stack"
)
"""Primitives whose axes keep their numbers: the primitive itself is right for all runs."""

PRIMITIVES: dict[str, PrimitiveRule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise.elementwise),
    **dict.fromkeys(SAME_AXES.split(), elementwise.same_axes),
    **dict.fromkeys(CALL_JAXPR, control_flow.call),
    "broadcast_in_dim": elementwise.broadcast_in_dim,
    "reshape": elementwise.reshape,
    "transpose": elementwise.transpose,
    "slice": elementwise.slice_,
    "pad": elementwise.pad,
    "dynamic_slice": elementwise.dynamic_slice,
    "dynamic_update_slice": elementwise.dynamic_update_slice,
    "squeeze": elementwise.view,
    "rev": elementwise.view,
    "reduce_sum": contractions.reduce_sum,
    "reduce_max": contractions.reduction(jnp.maximum),
    "reduce_min": contractions.reduction(jnp.minimum),
    "reduce_and": contractions.reduction(jnp.logical_and),
    "reduce_or": contractions.reduction(jnp.logical_or),
    "dot_general": contractions.dot_general,
    "scan": control_flow.scan,
    "while": control_flow.while_,
    "cond": control_flow.cond,
}
