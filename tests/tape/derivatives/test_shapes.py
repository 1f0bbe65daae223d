"""Operations that move or repeat entries: every entry against `jax.vjp` and differences."""

import jax.numpy as jnp
import pytest
from derivative_laws import Case, Cases, complex_normal, every_law, normal
from jax import lax

x = normal(2, 3)

CASES = Cases(
    [
        Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (4, 2, 3), (1, 2)), normal(2, 1)),
        Case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 0), (0, 1)), normal(2, 1), name="to nothing"),
        Case("tile", lambda x: lax.tile(x, (2, 3)), x),
        Case("tile", lambda x: lax.tile(x, (0, 3)), x, name="tile zero times"),
        Case("reshape", lambda x: lax.reshape(x, (3, 2)), x),
        Case("reshape", lambda x: lax.reshape(x, (6, 2), (2, 0, 1)), normal(2, 2, 3), name="reshape in another order"),
        Case("reshape", lambda x: x.reshape(0, 5), normal(3, 0), name="reshape nothing"),
        Case("squeeze", lambda x: lax.squeeze(x, (0, 2)), normal(1, 2, 1)),
        Case("transpose", lambda x: lax.transpose(x, (2, 0, 1)), normal(2, 3, 4)),
        Case("transpose", lambda x: lax.transpose(x, (2, 0, 1)), complex_normal(2, 3, 1), name="transpose complex"),
        Case("rev", lambda x: lax.rev(x, (0, 2)), normal(2, 3, 2)),
        Case("concatenate", lambda *xs: lax.concatenate(xs, 1), x, normal(2, 1), normal(2, 0)),
        Case("split", lambda x: jnp.split(x, [1, 1, 3], axis=1)[::2], normal(2, 5)),
        Case("stack", lambda *xs: lax.stack(xs, axis=1), x, normal(2, 3, seed=1)),
        Case("unstack", lambda x: lax.unstack(x, axis=1), x),
        Case("unstack", lambda x: lax.unstack(x, axis=1)[1], x, name="unstack, one used"),
        Case("unstack", lambda x: lax.unstack(x, axis=0)[0], normal(1, 2), name="unstack one"),
        Case("pad", lambda x, v: lax.pad(x, v[0], [(1, 2, 0), (0, 1, 2)]), x, normal(1)),
        Case("pad", lambda x, v: lax.pad(x, v[0], [(-1, 0, 1), (2, -2, 0)]), normal(3, 4), normal(1), name="pad −"),
        Case("pad", lambda x, v: lax.pad(x, v[0], [(-1, -1, 2)]), normal(3), normal(1), name="pad − and inside"),
        Case("pad", lambda x, v: lax.pad(x, v[0], [(-2, -2, 0)]), normal(4), normal(1), name="pad to nothing"),
        Case("pad", lambda x, v: lax.pad(x, v[0], [(1, 2, 3)]), normal(0), normal(1), name="pad nothing"),
    ]
)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)
