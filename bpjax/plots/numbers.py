"""The numbers beside a figure, written whole or not at all."""

import contextlib
import csv
import io
import os
from pathlib import Path

import numpy as np


def write_csv(path, columns) -> None:
    """The numbers beside a figure: one column to each name, written aside and renamed.

    Raises:
        ValueError: the columns are not one-dimensional, or differ in length.
    """
    columns = {name: np.asarray(column) for name, column in columns.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"`write_csv` expected columns (n,) of one length, got {shapes}.")
    with io.StringIO(newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        write_whole(path, text.getvalue())


def write_whole(path, text: str) -> None:
    """Write `text` beside `path` and rename it, so that nothing half-written replaces what was there.

    Raises:
        ValueError: `path` cannot be written.
    """
    path = Path(path).absolute()
    aside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8", newline="")
        os.replace(aside, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()
