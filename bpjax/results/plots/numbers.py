"""The data of a figure as a CSV file."""

import csv
import io

import numpy as np

from bpjax.util.files import write_file


def write_csv(path, columns) -> None:
    """Write the data of a figure, one column per name, to a temporary file that then replaces `path`.

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
        write_file(path, text.getvalue().encode())
