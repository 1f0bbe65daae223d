"""Symbols with indices, and numbers, as text."""

import math

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def of_layer(symbol: str, number: int) -> str:
    """A symbol of a layer: W⁽²⁾."""
    return f"{symbol}⁽{str(number).translate(SUPERSCRIPT)}⁾"


def entry(symbol: str, *indices: int) -> str:
    """An entry of a vector or matrix, counted from 1: w⁽²⁾₁₁, or w⁽²⁾[10, 1] beyond 9."""
    if all(index < 9 for index in indices):
        return symbol + "".join(str(index + 1).translate(SUBSCRIPT) for index in indices)
    return f"{symbol}[{', '.join(str(index + 1) for index in indices)}]"


def number(value) -> str:
    """Six significant digits, with a minus sign."""
    value = float(value)
    text = f"{value:.6g}" if math.isfinite(value) else {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN")
    return ("0" if text == "-0" else text).replace("-", "−")


def factor(value) -> str:
    """A number as a factor: a negative one in parentheses."""
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def vector(values) -> str:
    """(0, 1), at most six entries."""
    values = [float(value) for value in values]
    shown = [number(value) for value in values[:6]]
    return f"({', '.join(shown)}{', …' if len(values) > 6 else ''})"


def products(left, right, most: int) -> str:
    """Σ left · right with the numbers: 0·0.5 + 1·(−0.2), at most `most` terms."""
    pairs = list(zip(left, right, strict=True))
    terms = [f"{factor(a)}·{factor(b)}" for a, b in pairs[:most]]
    more = [f"… {len(pairs) - most} more"] if len(pairs) > most else []
    return " + ".join(terms + more)
