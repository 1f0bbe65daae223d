"""The mark of a stored result: its record lists the files that were written, with their digests.

Only a folder whose record is sealed, and which holds nothing but the listed, unchanged files, is ever replaced or
deleted.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bpjax.util.files import write_file

MARK = "record.json"
"""The file of a result that says how it was made."""
FORMAT = "bpjax result 1"
"""The record's field `format`: which program wrote it, and in which form."""


def seal(folder: Path, without: str = "") -> None:
    """Complete the record of `folder` with the list of its files, which allows a later result to replace them.

    Args:
        folder: of the result.
        without: name of a file that is not listed.

    Raises:
        RuntimeError: the folder has no record.
        OSError: a file cannot be read.
    """
    try:
        record = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise RuntimeError(f"{folder} needs its record: call `write_record(folder, ...)` inside the block.")
    files = {name: _digest(path) for name, path in entries(folder) if name not in (MARK, without)}
    sealed = {**record, "format": FORMAT, "files": files}
    write_file(folder / MARK, (json.dumps({**sealed, "seal": digest_of(sealed)}, indent=2) + "\n").encode())


def entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name below `folder`, path) of everything in it; links are not followed, empty folders end in "/"."""
    for path in sorted(folder.iterdir()):
        if not _is_folder(path):
            yield path.name, path
        elif inside := list(entries(path)):
            yield from ((f"{path.name}/{name}", below) for name, below in inside)
        else:
            yield f"{path.name}/", path


def foreign(folder: Path) -> str | None:
    """Why `folder` may not be replaced or deleted: the first thing in it that is not ours; None if all of it is.

    Listed files may be missing; an empty folder is free.
    """
    found = list(entries(folder))
    if not found:
        return None
    files = _listed(folder / MARK)
    if isinstance(files, str):
        return files
    for name, path in found:
        if name.endswith("/") and any(listed.startswith(name) for listed in files):
            continue  # its files have been deleted
        if name != MARK and name not in files:
            return f"it holds {name}, which its record does not list"
        if name != MARK and (files[name] is None or files[name] != _digest(path)):
            return f"{name} in it has been changed since it was written"
    return None


def damage(folder: Path, without: tuple[str, ...] = (".png", ".svg", ".pdf", ".html")) -> str | None:
    """The first file that a sealed record lists and that is missing or changed; None if all are as they were written.

    Args:
        folder: of the result.
        without: endings of files that need not be there, such as figures.
    """
    files = _listed(folder / MARK)
    if isinstance(files, str):
        return files
    for name, digest in files.items():
        if name.endswith(without) or digest is None:
            continue
        path = folder / name
        if not os.path.lexists(path):
            return f"{name} is missing"
        if not name.endswith("/") and digest != _digest(path):
            return f"{name} has been changed since it was written"
    return None


def remove(folder: Path) -> bool:
    """Delete a sealed result, file by file; whatever is not listed stays, with the folders around it.

    Returns:
        Whether all of it is gone.
    """
    if foreign(folder) is not None:
        return False
    found = list(entries(folder))
    for name, path in sorted(found, key=lambda entry: entry[0] == MARK):  # the record last: it says what is ours
        _remove_empty(folder, path) if name.endswith("/") else path.unlink(missing_ok=True)
        _remove_empty(folder, path.parent)
    _remove_empty(folder.parent, folder)
    return not folder.exists()


def _remove_empty(above: Path, folder: Path) -> None:
    """Remove `folder`, and the folders between it and `above`, as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder != above:
            folder.rmdir()
            folder = folder.parent


def _listed(path: Path) -> dict | str:
    """{name: digest} of a sealed record, or why it is none of ours."""
    if not path.exists():
        return f"it has no {MARK}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files, written = record["files"], record.pop("seal")
        ours = record["format"] == FORMAT and isinstance(files, dict)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"its {MARK} is not one that bpjax seals"
    if not ours:
        return f"its {MARK} is not one that bpjax seals"
    return files if written == digest_of(record) else f"its {MARK} has been changed since it was written"


def digest_of(record: dict) -> str:
    """SHA-256 of a record, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, where a link leads, "folder"; None for anything else, such as a FIFO."""
    if _is_folder(path):
        return "folder"
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
