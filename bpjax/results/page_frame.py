"""HTML pages of one file: a shared head and style, the data as JSON, and no network access."""

import base64
import html
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np

from bpjax.util.files import write_file

SCRIPTS = ("unpack.js", "plot.js")
"""JavaScript that pages share, in the order in which it is loaded."""


def write_page(path: str | Path, title: str, template: str, data: dict, images: str = "data:") -> Path:
    """Write a page: the frame, with the parts of a template in it; returns its path.

    Args:
        path: of the HTML file, which is replaced only when the new one is complete.
        title: the question that the page answers.
        template: text with the parts `<!-- style -->`, `<!-- header -->`, `<!-- body -->` and `<!-- script -->`.
        data: for JSON; the page has it as the constant `data`.
        images: where the page may load images from, as its security policy says.

    Raises:
        ValueError: `path` cannot be written.
    """
    parts = dict(re.findall(r"<!-- (\w+) -->\n(.*?)(?=<!-- \w+ -->\n|\Z)", template, re.DOTALL))
    shared = "".join(asset(name) for name in SCRIPTS)
    fields = {
        "language": "en", "title": html.escape(title), "images": images,
        **{name: parts.get(name, "") for name in ("style", "header", "body")},
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "script": shared + parts.get("script", ""),
    }  # fmt: skip
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], asset("frame.html"))
    write_file(path, text.encode())
    return Path(path)


def asset(name: str) -> str:
    """A file of this package's pages."""
    return files("bpjax.results").joinpath("pages", name).read_text(encoding="utf-8")


def packed(values, dtype: str) -> dict:
    """Values in C order as base64 of little-endian bytes, with the name of JavaScript's array type.

    Args:
        values: numbers.
        dtype: "u1", "i1", "u2", "i4", "f4" or "f8".
    """
    with np.errstate(over="ignore"):  # beyond float32 is ∞ on the page
        text = base64.b64encode(np.ascontiguousarray(values, f"<{dtype}").tobytes()).decode("ascii")
    return {"type": TYPES[dtype], "data": text}


TYPES = {
    "u1": "Uint8Array",
    "i1": "Int8Array",
    "u2": "Uint16Array",
    "i4": "Int32Array",
    "f4": "Float32Array",
    "f8": "Float64Array",
}


def packed_counts(values) -> dict:
    """Integers in the smallest of the types that holds them."""
    values = np.asarray(values)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    return packed(values, "i4" if low < 0 or high > 65535 else "u2" if high > 255 else "u1")


def packed_logarithms(values) -> dict:
    """Positive numbers as 16-bit codes of their logarithm; others, such as NaN and ∞, are 0.

        code = 1 + 65534 (log v − log low) / (log high − log low)

    Rounding changes v by at most (high / low)^(1/131068) − 1: 0.01 % over six powers of ten.
    """
    values = np.asarray(values, float)
    usable = np.isfinite(values) & (values > 0)
    logs = np.log10(np.where(usable, values, 1.0))
    low, high = (float(logs[usable].min()), float(logs[usable].max())) if usable.any() else (0.0, 1.0)
    codes = 1 + np.rint(65534 * (logs - low) / (high - low or 1.0))
    return packed(np.where(usable, codes, 0), "u2") | {"low": low, "high": high}
