"""What is accepted on purpose although it looks wrong, and why: rules for kinds of arguments, no single calls.

A rule is (which rooms or callables, which parameters, which wrong values, why), each part a regular expression that
must match whole.
"""

import re

ANY = ".*"
NUMBERS = "number|integer|zero|negative|fraction|float of an integer|1e300|10[*][*]30"
ARRAYS = "array|array [(]2,[)]|list|an entry .*|integer array|another float dtype|another width|a further axis|rank 0"

ACCEPTED = (
    ("theory.*", ANY, f"{NUMBERS}|{ARRAYS}|swapped|leaves: (integers|another float dtype)",
     "closed forms take finite numbers and arrays of any dtype and size within their bounds, entry by entry"),
    ("theory.duplicate_unit", "params", "leaves: NaN|leaves: no rows|leaves: double width|swapped",
     "weights that fit each other are rearranged, whatever their values and sizes"),
    ("util.cast|optimizers.fan_in", "tree|params", "(?!.*text)(?!object|class|uncalled|layer|loss).*",
     "a pytree of any structure, empty ones included, and of arrays of any kind"),
)  # fmt: skip
"""(callable, parameter, label, reason) of what returns."""

RAISED: tuple[tuple[str, str, str, str, str], ...] = ()
"""(callable, parameter, label, text of the error, reason) of errors that come from elsewhere and are right."""


def may_accept(call, parameter: str, label: str, value) -> str | None:
    """The reason why a call with this value returns, or None."""
    for callables, parameters, labels, reason in ACCEPTED:
        found = zip((callables, parameters, labels), (call.name, parameter, label), strict=True)
        if all(re.fullmatch(pattern, text) for pattern, text in found):
            return reason
    return None


def may_raise(call, parameter: str, label: str, error: Exception) -> str | None:
    """The reason why an error of another library or of Python is the right one, or None."""
    for callables, parameters, labels, texts, reason in RAISED:
        about = (call.name, parameter, label, f"{type(error).__name__}: {error}")
        if all(
            re.fullmatch(p, t, re.DOTALL) for p, t in zip((callables, parameters, labels, texts), about, strict=True)
        ):
            return reason
    return None
