"""Results on disk: how they were made, and the folder that only a complete new result replaces."""

import contextlib
import dataclasses
import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax

from bpjax.results.replace import (
    WRITING,
    Misplaced,
    cannot_be_written,
    check_free,
    claimed,
    discard,
    place,
    target_of,
    writing_folder,
)
from bpjax.results.seal import MARK, seal


@contextlib.contextmanager
def written_aside(folder: str | Path) -> Iterator[Path]:
    """A hidden folder to write into, which takes the place of `folder` when the `with` block ends without an error.

    An error or Ctrl-C leaves `folder` unchanged. A process killed at any moment leaves the earlier or the new result,
    complete; on systems that cannot exchange two folders the next call may have to put it back (see
    `bpjax.results.replace`). The block must write a record (see `write_record`). It is then completed with the list of
    all files and their digests, and only a folder that holds nothing else is replaced by a later result. If `folder`
    is a symbolic link, the link stays and what it points to is replaced.

    Raises:
        ValueError: `folder` cannot be written, holds something that is not a result, or another process is
            writing it.
        Misplaced: the same, found when the block has ended; the new result is complete beside `folder`.
        RuntimeError: the block has not written a record.
    """
    folder = target_of(folder)
    with claimed(folder):
        check_free(folder)
        try:
            aside, token = writing_folder(folder)
        except OSError as error:
            raise cannot_be_written(folder, error) from None
        try:
            yield aside
            seal(aside, without=WRITING)
            (aside / WRITING).unlink()
            place(aside, token, folder)
        except Misplaced:
            raise
        except BaseException:
            with contextlib.suppress(OSError):  # the next call tries again
                discard(aside)
            raise


def check_replaceable(folder: str | Path) -> None:
    """Make the parent of `folder`, and raise a `ValueError` unless a result may be written at `folder` now."""
    folder = target_of(folder)
    with claimed(folder):
        check_free(folder)


def write_record(folder: Path, config, **more) -> dict:
    """Write and return how a result was made: config, versions, device, precision, and the entries of `more`."""
    record = {"config": config_data(config), **environment(), **more}
    (folder / MARK).write_text(json.dumps(record, indent=2, default=str) + "\n")
    return record


def environment() -> dict:
    """Versions, device and precision of this process."""
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
            "optax": optax.__version__,
            "numpy": np.__version__,
        },
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "precision": {
            "matmul": str(jax.config.jax_default_matmul_precision or "default"),  # type: ignore[attr-defined]
            "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
        },
    }


def config_data(config):
    """A config as data for JSON: a dataclass as a dictionary, anything else unchanged."""
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) and not isinstance(config, type) else config
