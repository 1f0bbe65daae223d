"""Write to a terminal of any encoding, past whatever other code does to standard output."""

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO

ASCII = str.maketrans(
    {
        "⟨": "<", "⟩": ">", "ᵀ": "^T", "×": "x", "√": "sqrt ", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "·": "*",
        "–": "-", "—": "-", "−": "-", "′": "'", "…": "...", "→": "->", "─": "-", "│": "|", "∂": "d", "Σ": "sum ",
        "δ": "delta", "Δ": "delta ", "φ": "phi", "σ": "sigma", "±": "+-", "°": " deg", "∞": "inf", "²": "^2", "ᵢ": "_i",
        "⊙": "*", "∈": "in", "‖": "|", "λ": "lambda", "ξ": "xi", "ε": "eps", "“": '"', "”": '"', "’": "'",
    }
)  # fmt: skip
"""What a terminal without these characters shows in their place."""


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """What to show for the characters that an encoding lacks: Python's interface of an error handler."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end].translate(ASCII)
    return missing.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("bpjax", _replacement)


def encodable(text: str, encoding: str | None) -> str:
    """The text in characters that an encoding has."""
    try:
        return text.encode(encoding or "ascii", "bpjax").decode(encoding or "ascii")
    except (LookupError, UnicodeError):
        return text.encode("ascii", "bpjax").decode("ascii")


def make_printable(stream) -> None:
    """Let a stream show replacements for the characters that its encoding lacks, where it would raise an error."""
    if getattr(stream, "errors", None) == "strict":
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed or replaced by other code
            stream.reconfigure(errors="bpjax")


def write(text: str, stream: TextIO | None) -> None:
    """Print a text in the encoding of a stream; no stream, or a reader that is gone, is no error."""
    if stream is None:
        return
    try:
        with contextlib.suppress(AttributeError, ValueError):  # closed or replaced by other code
            sys.stdout.flush()
        print(encodable(text, getattr(stream, "encoding", None)), file=stream, flush=True)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def own_output(redirect: bool, restore: bool = True) -> Iterator[TextIO]:
    """Standard output for us alone, even if other code closes, replaces or prints to it.

    Args:
        redirect: what other code prints goes to standard error, from Python and from other libraries alike.
        restore: undo this at the end; otherwise it stays so until the process ends.
    """
    before = sys.stdout
    try:
        descriptor = before.fileno()
        before.flush()
        own = os.fdopen(os.dup(descriptor), "w", encoding=before.encoding, errors=before.errors)
    except (AttributeError, OSError, ValueError):  # no file behind it: captured by a test or a notebook
        descriptor, own = None, before if before is not None else open(os.devnull, "w")
    kept = None
    if redirect:
        sys.stdout = sys.stderr
        if descriptor is not None:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                kept = os.dup(descriptor)
                os.dup2(sys.stderr.fileno(), descriptor)
    try:
        yield own
    finally:
        with contextlib.suppress(OSError, ValueError):
            own.flush()
        if restore:
            sys.stdout = before
            if kept is not None and descriptor is not None:
                os.dup2(kept, descriptor)
        if kept is not None:
            os.close(kept)
        if own is not before:
            with contextlib.suppress(OSError):
                own.close()
