"""Files written to a temporary name and renamed, so that an incomplete file never replaces an old one."""

import contextlib
import os
import re
import tempfile
from pathlib import Path


def write_file(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` completely or not at all: a write that fails or is killed leaves the old file.

    Raises:
        ValueError: the folder cannot be written to, or `path` is a folder.
    """
    path = Path(os.path.realpath(path))  # follow a symbolic link to its target
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name the file to write.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(aside, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"\W+", "_", name.lower())


def _umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
