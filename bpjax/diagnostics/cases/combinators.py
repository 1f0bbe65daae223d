"""Layers made of layers, and what they are checked at."""

from bpjax.diagnostics.cases.case import LayerCase
from bpjax.layers.activations import sigmoid
from bpjax.layers.combinators import chain, with_shortcut
from bpjax.layers.dense import dense
from bpjax.layers.each import each

CASES: dict[str, LayerCase] = {
    "each(chain(dense(3), sigmoid))": LayerCase(each(chain(dense(3), sigmoid)), (4, 5)),
    "with_shortcut(chain(dense(2), sigmoid))": LayerCase(with_shortcut(chain(dense(2), sigmoid)), (5,), blocked=False),
}
