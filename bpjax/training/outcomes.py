"""What a trial stores of a run that has stopped: the user's function, its result and its names checked."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp

from bpjax.types import Array
from bpjax.util.call_text import shown
from bpjax.util.user_functions import call_user, place

SWEEP_NAMES = tuple("curve diverged epoch epochs error number reason refused sample seed solved".split())
"""Names that the result of a sweep has for its own variables and dimensions."""


def check_names(who: str, role: str, names: Iterable[str]) -> None:
    """Raise a `ValueError` where a name is not a text or is one that the result of a sweep has."""
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"`{who}` expected texts as names in `{role}`, got {shown(name)}.")
    taken = sorted(set(names) & set(SWEEP_NAMES))
    if taken:
        raise ValueError(
            f"`{who}` expected other names in `{role}` than {', '.join(taken)}: the result of a sweep has "
            f"{', '.join(SWEEP_NAMES)}. Rename {'it' if len(taken) == 1 else 'them'}, for example final_{taken[0]}."
        )


def outcome_of(who: str, outcome, run) -> dict[str, Array]:
    """{name: array} of a run from the user's function, or a `ValueError` that names the function."""
    stored = call_user(who, "outcome", outcome, run)
    if not isinstance(stored, Mapping):
        raise ValueError(
            f"`{who}` expected {{name: array}} from the outcome function {place(outcome)}, got {shown(stored)}."
        )
    check_names(who, "outcome", stored)
    return {name: _array(who, outcome, name, value) for name, value in stored.items()}


def _array(who: str, outcome, name: str, value) -> Array:
    """An outcome as an array that can be stored, or a `ValueError`."""
    try:
        array = None if value is None else jnp.asarray(value)
    except (TypeError, ValueError):
        array = None
    if array is None or jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"`{who}` expected an array of numbers for {name!r} from the outcome function {place(outcome)}, "
            f"got {shown(value)}. Give each array a separate name."
        )
    return array
