"""The smallest block that holds the wrong entries of an array, in words."""

import numpy as np


def block_in_words(name: str, wrong: np.ndarray) -> str:
    """Where an array is wrong: "rows 0–3 of `w[..., 64:128]`".

    Args:
        name: of the array.
        wrong: which of its entries are wrong.

    Raises:
        ValueError: no entry is wrong.
    """
    wrong = np.asarray(wrong, bool)
    if not wrong.any():
        raise ValueError(f"Expected a mask with a wrong entry of `{name}`, got none.")
    if wrong.all():
        return f"`{name}`" if wrong.ndim == 0 else f"all entries of `{name}`"
    count = int(wrong.sum())
    positions = [
        np.flatnonzero(wrong.any(axis=tuple(k for k in range(wrong.ndim) if k != axis))) for axis in range(wrong.ndim)
    ]
    if count == 1:
        return f"entry [{', '.join(str(int(p[0])) for p in positions)}] of `{name}`"
    diagonal = _diagonal(wrong)
    if diagonal:
        return f"{diagonal} of `{name}`"
    inside = wrong[np.ix_(*positions)]
    share = "" if inside.all() else f"{count} of {inside.size} entries in "
    return share + _block(name, wrong.shape, positions)


def _diagonal(wrong: np.ndarray) -> str:
    """The part of a square matrix in words, or an empty string."""
    if wrong.ndim != 2 or wrong.shape[0] != wrong.shape[1] or len(wrong) < 3:
        return ""
    ones = np.ones(wrong.shape, bool)
    parts = {
        "the diagonal": np.eye(len(wrong), dtype=bool),
        "all entries off the diagonal": ~np.eye(len(wrong), dtype=bool),
        "the triangle above the diagonal": np.triu(ones, 1),
        "the triangle below the diagonal": np.tril(ones, -1),
        "the upper triangle": np.triu(ones),
        "the lower triangle": np.tril(ones),
    }
    return next((words for words, part in parts.items() if (wrong == part).all()), "")


def _block(name: str, shape: tuple[int, ...], positions: list[np.ndarray]) -> str:
    """A block as rows of the array, sliced along its other axes."""
    restricted = [axis for axis in range(len(shape)) if len(positions[axis]) < shape[axis]]
    if not restricted:
        return f"`{name}`"
    if len(shape) == 1:
        return f"{_indices('entries', positions[0], shape[0])} of `{name}`"
    rows = positions[0] if restricted[0] == 0 else None
    later = [axis for axis in restricted if axis > 0]
    slices = [_slice(positions[axis], shape[axis]) for axis in later]
    if rows is None and len(later) == 1 and later[0] == 1 and len(shape) == 2:
        return f"{_indices('columns', positions[1], shape[1])} of `{name}`"
    if any(text is None for text in slices):
        parts = [f"{_indices(f'positions along axis {axis}:', positions[axis], shape[axis])}" for axis in restricted]
        return f"{', '.join(parts)} of `{name}`"
    text = name
    if later:
        text = f"{name}[{_subscript(later, slices, len(shape))}]"
    return f"{_indices('rows', rows, shape[0])} of `{text}`" if rows is not None else f"`{text}`"


def _subscript(axes: list[int], slices: list, ndim: int) -> str:
    if axes == list(range(ndim - len(axes), ndim)):
        return ", ".join(["...", *slices])
    every = [":"] * (axes[-1] + 1)
    for axis, text in zip(axes, slices, strict=True):
        every[axis] = text
    return ", ".join(every)


def _slice(indices: np.ndarray, length: int) -> str | None:
    """Indices as a Python slice, None where they are no slice."""
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return str(first)
    steps = np.diff(indices)
    if (steps != steps[0]).any():
        return None
    step = int(steps[0])
    start = "" if first == 0 else str(first)
    end = "" if last + step >= length else str(last + 1)
    return f"{start}:{end}" + ("" if step == 1 else f":{step}")


def _indices(word: str, indices: np.ndarray, length: int) -> str:
    """Indices along one axis in words."""
    one = {"entries": "entry", "rows": "row", "columns": "column"}.get(word, word)
    first, last = int(indices[0]), int(indices[-1])
    if len(indices) == 1:
        return f"{one} [{first}]" if word == "entries" else f"{one} {first}"
    steps = np.diff(indices)
    if (steps == 1).all():
        return f"{word} {first}–{last}"
    if (steps == steps[0]).all() and len(indices) > 2 and last + steps[0] >= length and first < steps[0]:
        ordinal = {2: "second", 3: "third", 4: "fourth"}.get(int(steps[0]), f"{int(steps[0])}th")
        return f"every {ordinal} {one} from {first}"
    if len(indices) <= 6:
        return f"{word} {', '.join(str(int(k)) for k in indices)}"
    return f"{len(indices)} of {length} {word} between {first} and {last}"
