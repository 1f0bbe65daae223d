"""Operations along the run axis of arrays, which is the first or the last."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RunAxis(NamedTuple):
    """Operations along the run axis of arrays, which is the first or the last."""

    axis: int  # 0 or -1
    width: int  # active runs

    def take(self, array, places):
        """The runs at these places."""
        return array[..., places] if self.axis == -1 else array[places]

    def reordered(self, array, places):
        """`width` runs in another order; a single run has only one."""
        return array if self.width == 1 else self.take(array, places)

    def window(self, array, start):
        """`width` runs from `start` on."""
        return jax.lax.dynamic_slice_in_dim(array, start, self.width, self.axis % array.ndim)

    def put(self, array, new, start):
        """`array` with the runs `new` from `start` on."""
        return jax.lax.dynamic_update_slice_in_dim(array, new, start, self.axis % array.ndim)

    def resized(self, shape, length):
        """`shape` with so many runs."""
        return (*shape[:-1], length) if self.axis == -1 else (length, *shape[1:])

    def expand(self, condition, array):
        """A condition per run (width,), broadcast to the shape of `array`."""
        wide = condition if self.axis == -1 else condition.reshape(self.width, *(1,) * (array.ndim - 1))
        return jnp.broadcast_to(wide, array.shape)
