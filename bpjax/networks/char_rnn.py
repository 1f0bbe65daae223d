"""A recurrent network that predicts the next character."""

from bpjax.layers.combinators.chain import chain
from bpjax.layers.combinators.over_positions import over_positions
from bpjax.layers.dense import dense
from bpjax.layers.embedding import embedding
from bpjax.layers.layer import Layer
from bpjax.layers.recurrent.cell import Cell
from bpjax.layers.recurrent.gated import lstm
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.util.call_text import shown


def char_rnn(
    vocabulary: int, features: int = 32, cells: tuple[Cell, ...] = (lstm(128),), truncate: int | None = None
) -> Layer:
    """A recurrent network over characters: tokens x (N, T) of integers to logits (N, T, vocabulary).

    `chain(embedding(vocabulary, features), unroll(cell), …, over_positions(dense(vocabulary)))`. The targets for
    `softmax_cross_entropy` are the next characters, labels (N, T).

    Args:
        vocabulary: V, the number of characters.
        features: Of the embedding.
        cells: The recurrent layers, first to last: `lstm`, `gru` or any other cell.
        truncate: As in `unroll`.

    Raises:
        ValueError: a size is not a positive integer, `cells` is empty or an entry of it is not a Cell.
    """
    if not isinstance(cells, tuple | list) or not cells:
        raise ValueError(f"`char_rnn` expected a tuple of at least one cell, got {shown(cells)}.")
    recurrent = [unroll(cell, truncate=truncate) for cell in cells]
    return chain(embedding(vocabulary, features), *recurrent, over_positions(dense(vocabulary)))
