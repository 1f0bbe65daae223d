"""The words of the project, and one legend of axes.

Axes
    N   examples of a batch, always the first axis
    D   features coming in           H   features going out
    K   outputs of a network, classes
    T   time steps of a sequence         C   channels, always the last axis of an image

Symbols
    x   what comes into a layer      y   what goes out of it
    a   net input, x W + b           φ   activation, y = φ(a)
    o   output of the network        t   target
    E   error of a batch             δ   error signal, ∂E/∂a
    w b weight and bias              dx  the cotangent of x, ∂E/∂x; likewise dy, dw, db
"""

from typing import Any

import jax

Array = jax.Array
Key = Array
"""A typed key, `jax.random.key(seed)`."""
Shape = tuple[int, ...]
Params = Any
"""A pytree of arrays: what is learnt, and nothing else."""
Residuals = Any
"""A pytree of arrays: what a forward pass keeps for its backward pass. Never parameters."""
RuleState = Any
"""A pytree of arrays: what a learning rule carries along, `()` where it needs nothing."""
Batch = tuple[Any, Any]
"""Examples and their targets, `(x (N, ...), target (N, ...))`; x may be a pytree of arrays."""
