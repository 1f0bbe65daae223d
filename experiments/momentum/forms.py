"""The conventions of momentum as one optimizer whose convention is data (part of momentum.py)."""

import jax
import optax

import bpjax as bp
from bpjax.optimizers.momentum import Form

FORMS: tuple[Form, ...] = ("heavy_ball", "convex", "nesterov", "velocity")
"""An axis `form` of a sweep holds places in here."""
NAMES = {
    "gradient descent": "plain descent",
    "heavy_ball": "heavy ball",
    "convex": "convex (the article's)",
    "nesterov": "Nesterov",
    "velocity": "velocity",
}


def any_form(form, learning_rate, momentum) -> optax.GradientTransformation:
    """`bp.momentum` in the convention FORMS[form], where `form` may be traced: one compilation serves all of them."""
    kinds = [bp.momentum(learning_rate, momentum, form=name) for name in FORMS]
    steps = [lambda g, state, params, kind=kind: kind.update(g, state, params) for kind in kinds]

    def update(updates, state, params=None, **unused):
        return jax.lax.switch(form, steps, updates, state, params)

    return optax.GradientTransformation(kinds[0].init, update)
