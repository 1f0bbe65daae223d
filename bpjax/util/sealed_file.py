"""Pages that are replaced only while they are as they were written: their last line is the digest of the rest."""

import hashlib
import os
import stat
from pathlib import Path

from bpjax.util.files import as_path, shown, write_file

MARK = b"\n<!-- written by bpjax, sha256 "
END = b" -->\n"


def write_sealed_page(who: str, path: str | bytes | os.PathLike, page: str) -> Path:
    """Write an HTML page and its seal; returns the path.

    Args:
        who: the caller, for messages.
        path: of the page. A page that was written by this function and has not been changed since is replaced.
        page: the HTML.

    Raises:
        ValueError: something else is at `path`, or it cannot be written.
    """
    target = check_replaceable(who, path)
    body = page.encode()
    write_file(target, body + MARK + hashlib.sha256(body).hexdigest().encode() + END)
    return target


def check_replaceable(who: str, path: str | bytes | os.PathLike) -> Path:
    """The path, or a `ValueError` where it holds something other than an unchanged sealed page or an empty file."""
    target = as_path(who, path, "page.html")
    try:
        found = os.stat(target)
        if stat.S_ISDIR(found.st_mode):
            raise ValueError(f"`{who}` expected the name of a file, got the folder {shown(target)}: name a file in it.")
        content = target.read_bytes() if stat.S_ISREG(found.st_mode) else b""  # a device is written to
    except FileNotFoundError:
        return target
    except OSError as error:
        raise ValueError(f"{shown(target)} cannot be read ({error.strerror}): choose another place.") from None
    if content and not is_sealed(content):
        raise ValueError(
            f"`{who}` expected a new file or a page that it has written, got {shown(target)}, which is something else "
            "or has been changed since. Choose another name, or move that file away."
        )
    return target


def is_sealed(content: bytes) -> bool:
    """Whether a file is a sealed page that has not been changed."""
    body, _, rest = content.rpartition(MARK)
    return rest == hashlib.sha256(body).hexdigest().encode() + END
