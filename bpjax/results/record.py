"""Results on disk: written to a temporary folder and renamed, so that no partial result replaces an earlier one."""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import optax

MARK = "record.json"
"""The file that marks a folder as a result, which a later result may replace."""


@contextlib.contextmanager
def written_aside(folder: str | Path) -> Iterator[Path]:
    """A temporary folder to write into, which replaces `folder` when the `with` block ends without an error.

    An error or Ctrl-C leaves `folder` unchanged. The block must write a record (see `write_record`), which allows a
    later result to replace this one.

    Raises:
        ValueError: `folder` cannot be written, or holds something that is not a result.
        RuntimeError: the block has not written a record.
    """
    folder = Path(folder).absolute()
    check_replaceable(folder)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(aside, 0o755)
        yield aside
        if not (aside / MARK).is_file():
            raise RuntimeError(f"{folder} needs its record: call `write_record(folder, ...)` inside the block.")
        if folder.exists():
            former = Path(tempfile.mkdtemp(prefix=f".{folder.name}-former-", dir=folder.parent))
            folder.rename(former / folder.name)
            aside.rename(folder)
            shutil.rmtree(former)
        else:
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(folder: str | Path) -> None:
    """Make the parent of `folder`, and raise a `ValueError` unless a result may be written at `folder`."""
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file())):
        raise ValueError(
            f"{folder} holds something that is not a result, which is never replaced: choose another folder."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent):
            pass
    except OSError as error:
        raise ValueError(f"Results cannot be written to {folder} ({error.strerror}): choose another folder.") from None


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
