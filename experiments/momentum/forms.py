"""The conventions of momentum as one optimizer that takes the convention as a traced argument."""

import jax
import optax

import bpjax as bp
from bpjax.optimizers.momentum import Form

FORMS: tuple[Form, ...] = ("heavy_ball", "convex", "nesterov", "velocity")
"""The axis `form` of a sweep holds indices into this tuple."""
NAMES = {
    "gradient descent": "plain descent",
    "heavy_ball": "heavy ball",
    "convex": "convex (encyclopedia)",
    "nesterov": "Nesterov",
    "velocity": "velocity",
}


def any_form(form, learning_rate, momentum) -> optax.GradientTransformation:
    """`bp.momentum` with the form FORMS[form], where `form` may be traced, so that one program serves all forms.

    Args:
        form: index into FORMS.
        learning_rate: η, may be traced.
        momentum: momentum coefficient α, may be traced.
    """
    optimizers = [bp.momentum(learning_rate, momentum, form=name) for name in FORMS]
    steps = [
        lambda g, state, params, optimizer=optimizer: optimizer.update(g, state, params) for optimizer in optimizers
    ]

    def update(updates, state, params=None, **unused):
        return jax.lax.switch(form, steps, updates, state, params)

    return optax.GradientTransformation(optimizers[0].init, update)
