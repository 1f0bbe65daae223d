"""Cases of sparse layers."""

import numpy as np

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.edges import banded_edges, edges_from_mask
from bpjax.layers.sparse import sparse

MASK = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
"""One unit without edges, one input without edges, and no two units alike."""

CASES: dict[str, LayerCase] = {
    "sparse(edges_from_mask)": LayerCase(sparse(edges_from_mask(MASK)), (5,)),
    "sparse(banded_edges(5, 3, 3))": LayerCase(sparse(banded_edges(5, 3, 3), use_bias=False), (5,)),
}
