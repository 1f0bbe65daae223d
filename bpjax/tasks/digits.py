"""Real data: the 1,797 handwritten digits bundled with scikit-learn, 8 × 8 pixels, 10 classes."""

import functools
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np

from bpjax.tasks.task import Task
from bpjax.util.checks import check_choice
from bpjax.util.extras import require_extra

Split = Literal["train", "validation", "test"]
SPLITS = {"train": slice(0, 1197), "validation": slice(1197, 1437), "test": slice(1437, 1797)}


def digits(split: Split = "train") -> Task:
    """Digits as pixels (N, 64) from 0 to 1, and labels (N,) from 0 to 9.

    The split is fixed, by position in the file: 1,197 examples to train, 240 to validate, 360 to test. The file is
    ordered by writer, so most test digits come from writers who are not in the training set.

    Raises:
        ValueError: `split` is not one of the three.
        ModuleNotFoundError: scikit-learn is missing; the message names the extra to install.
    """
    check_choice("digits", "split", split, get_args(Split))
    pixels, labels = (part[SPLITS[split]] for part in _load())

    def present(key=None):
        return jnp.asarray(pixels / 16, dtype=jnp.result_type(float)), jnp.asarray(labels, dtype=jnp.int32)

    return Task(f"digits-{split}", (64,), (10,), present, (32,))


@functools.cache
def _load() -> tuple[np.ndarray, np.ndarray]:
    with require_extra("The digits come with scikit-learn"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    return np.asarray(bunch["data"]), np.asarray(bunch["target"])  # type: ignore[index]
