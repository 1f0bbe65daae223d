"""Type names, and the notation of the project: axes and symbols.

Axes
    N   examples of a batch, always the first axis
    D   input features                   H   output features
    K   outputs of a network, classes
    T   time steps of a sequence         C   channels, always the last axis of an image

Symbols
    x   input of a layer             y   output of a layer
    a   net input, x W + b           φ   activation, y = φ(a)
    o   output of the network        t   target
    E   error of a batch             δ   error signal, ∂E/∂a
    w b weight and bias              dx  the cotangent of x, ∂E/∂x; likewise dy, dw, db
"""

from typing import Any

import jax

Array = jax.Array
"""An array of JAX, also a traced one."""
Key = Array
"""A typed key, `jax.random.key(seed)`."""
Shape = tuple[int, ...]
"""Sizes of the axes."""
Params = Any
"""A pytree of arrays, all of them trained."""
Residuals = Any
"""A pytree of arrays that the forward pass stores for the backward pass. Never parameters."""
RuleState = Any
"""A pytree of arrays, the state of a learning rule; `()` for a rule without state."""
Batch = tuple[Any, Any]
"""Examples and their targets, `(x (N, ...), target (N, ...))`; x may be a pytree of arrays."""
