"""Cases of combinators."""

import jax

from bpjax.gradcheck.cases.case import LayerCase, normal
from bpjax.layers.activations import sigmoid, tanh
from bpjax.layers.combinators.chain import chain, parallel, residual, shortcut
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.combinators.remat import remat
from bpjax.layers.combinators.repeat import repeat
from bpjax.layers.combinators.scaled import scaled
from bpjax.layers.combinators.tie import tie
from bpjax.layers.dense import dense
from bpjax.layers.dropout import dropout, keyed
from bpjax.layers.shapes import flatten, reshape


def _with_key(key, examples, in_shape):
    """(x, key)."""
    x_key, key = jax.random.split(key)
    return normal(x_key, examples, in_shape), key


CASES: dict[str, LayerCase] = {
    "over_positions(chain(dense(3), sigmoid))": LayerCase(over_positions(chain(dense(3), sigmoid)), (4, 5)),
    "shortcut(chain(dense(2), sigmoid))": LayerCase(shortcut(chain(dense(2), sigmoid)), (5,), blocked=False),
    "residual(chain(dense(4), tanh))": LayerCase(residual(chain(dense(4), tanh)), (4,), blocked=False),
    "parallel(dense(3), chain(dense(3), tanh))": LayerCase(parallel(dense(3), chain(dense(3), tanh)), (4,)),
    "parallel(dense(3), chain(dense(2), tanh), concatenate)": LayerCase(
        parallel(dense(3), chain(dense(2), tanh), combine="concatenate"), (4,)
    ),
    "chain(flatten, dense(6), reshape((3, -1)))": LayerCase(chain(flatten, dense(6), reshape((3, -1))), (2, 2)),
    "scaled(chain(dense(3), tanh), 0.3)": LayerCase(scaled(chain(dense(3), tanh), 0.3), (4,)),
    "repeat(chain(dense(4), tanh), 3)": LayerCase(repeat(chain(dense(4), tanh), 3), (4,)),
    "repeat(remat(chain(dense(3), tanh, dense(4))), 2)": LayerCase(
        repeat(remat(chain(dense(3), tanh, dense(4))), 2), (4,)
    ),
    "keyed(chain(dense(6), dropout(0.4), dense(2)))": LayerCase(
        keyed(chain(dense(6), dropout(0.4), dense(2))), (4,), inputs=_with_key, per_example=False
    ),
    "tie(chain(dense(4), tanh, dense(4)), (0, 2))": LayerCase(tie(chain(dense(4), tanh, dense(4)), (0, 2)), (4,)),
}
