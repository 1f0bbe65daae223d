"""How many digits a computation loses in a dtype, and which operations lose them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jax.extend import core

from bpjax.tape.entry import Recorded, TapeEntry
from bpjax.tape.forecast import VALID, Forecast, forecast, sources_of
from bpjax.tape.local_errors import precision_of
from bpjax.tape.record import Recorder, sweep
from bpjax.tape.replay import evaluate_in
from bpjax.tape.source import Source
from bpjax.tape.table import array_text, cut
from bpjax.tape.unrolled import UNROLLED
from bpjax.tape.values import Adjoints, Value, is_differentiable

CANCELLATION = 32.0
"""A sum cancels where its terms are together this many times larger than the result: 5 bits are lost."""


@dataclass(eq=False)
class Passed:
    """`stop_gradient`, through which rounding errors pass."""

    equation: core.JaxprEqn
    inputs: list[Value]
    outputs: list[Value]

    @classmethod
    def apply(cls, recorder: Recorder, equation, inputs: list[Value]) -> "Passed":
        """The same values."""
        return cls(equation, inputs, [Value(value.array, value.active) for value in inputs])

    def sweep(self, adjoints: Adjoints) -> None:
        """The same adjoints."""
        for before, after in zip(self.inputs, self.outputs, strict=True):
            adjoint = adjoints.of(after)
            if before.active and adjoint is not None:
                adjoints.add(before, adjoint)


WITH_ALL_ERRORS = Recorder({**UNROLLED, "stop_gradient": Passed.apply}, keep_inactive=True, active_constants=True)
"""How a function is recorded for the forecast."""


class Loss(NamedTuple):
    """What one operation, argument or constant adds to the rounding error of the result."""

    number: int | None  # of the operation, None for an argument or constant
    source: Source | None
    operation: str  # in symbols
    value: str  # an array by shape, norm and first entries
    bound: float
    expected: float
    share: float  # of the sum of squares


class Problem(NamedTuple):
    """Something that a person should look at."""

    kind: Literal["cancellation", "overflow", "underflow", "decision", "second order", "unknown operation"]
    number: int | None  # of the operation
    source: Source | None
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True)
class Rounding:
    """The forecast of the rounding error of a scalar result: `Tape.rounding` makes it."""

    name: str  # of the function
    file: str | None  # of the function
    dtype: str
    value: float  # the result as recorded
    bound: float  # the error is not larger; NaN where the forecast is not valid
    expected: float  # root mean square of the error; NaN where the forecast is not valid
    first_order: float  # the bound to first order
    nonlinearity: float  # terms of second order as a share of it
    measured: float  # the error when each operation is computed in the dtype
    losses: tuple[Loss, ...]  # the largest first
    problems: tuple[Problem, ...]

    @property
    def is_valid(self) -> bool:
        """Whether the forecast holds: no overflow, no comparison that may change, small terms of second order."""
        return not math.isnan(self.bound)

    @property
    def relative_bound(self) -> float:
        """The bound as a share of the result."""
        return self.bound / abs(self.value) if self.value else math.inf

    @property
    def relative_expected(self) -> float:
        """The expected error as a share of the result."""
        return self.expected / abs(self.value) if self.value else math.inf

    @property
    def digits(self) -> float:
        """Significant decimal digits that the result is expected to have in the dtype."""
        if self.expected == 0:
            return math.inf
        return max(0.0, -math.log10(self.relative_expected)) if self.is_valid else math.nan

    @property
    def by_line(self) -> dict[str, float]:
        """The share of each line in the sum of squares, the largest first; that of the arguments under ""."""
        shares: dict[str, float] = {}
        for loss in self.losses:
            line = line_text(loss.source, self.file)
            shares[line] = shares.get(line, 0.0) + loss.share
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def __repr__(self) -> str:
        return f"<rounding of {self.name} in {self.dtype}: {self.expected:.2g} expected, at most {self.bound:.2g}>"

    def __str__(self) -> str:
        return as_text(self)


def rounding(recorded: Recorded, dtype) -> Rounding:
    """See `Tape.rounding`.

    Args:
        recorded: a function, opened down to its elementary operations, with active constants.
        dtype: of the forecast.
    """
    (result,) = recorded.outputs
    adjoints = Adjoints()
    adjoints.add(result, np.ones((), result.array.dtype))
    sweep(recorded.entries, adjoints)
    records = [line.record for line in recorded.lines]
    arguments = [leaf for _, leaf in recorded.leaves if isinstance(leaf, Value)]
    found = forecast(records, arguments, result, adjoints, dtype)
    sources = list(dict.fromkeys([*arguments, *sources_of(records)]))
    entries = [TapeEntry(recorded, adjoints, line) for line in recorded.lines]
    low = float(evaluate_in(dtype, records, sources, result))
    valid = found.is_valid
    return Rounding(
        recorded.name,
        recorded.file,
        np.dtype(dtype).name,
        float(result.array),
        found.bound if valid else math.nan,
        found.expected if valid else math.nan,
        found.first_order,
        found.nonlinearity,
        low - float(result.array),
        tuple(sorted(_losses(found, entries, recorded), key=lambda loss: -loss.expected)),
        tuple(_problems(found, entries, adjoints, dtype)),
    )


# --- What loses digits -----------------------------------------------------------------------------------------------


def _losses(found: Forecast, entries: list[TapeEntry], recorded: Recorded) -> Iterator[Loss]:
    total = sum(share.mean_square for share in found.shares) + sum(error**2 for error in found.known.values())
    for entry, share in zip(entries, found.shares, strict=True):
        if share.bound > 0:
            name = entry.name or f"v{entry.number}"
            expected, part = math.sqrt(share.mean_square), share.mean_square / total
            text, value = f"{name} = {entry.symbol}", array_text(entry.value)
            yield Loss(entry.number, entry.source, text, value, share.bound, expected, part)
    names = {leaf: name for name, leaf in recorded.leaves if isinstance(leaf, Value)}
    for value, error in found.known.items():
        if error:
            text = f"{names[value]} rounded" if value in names else "constant rounded"
            array = array_text(np.asarray(value.array))
            yield Loss(None, None, text, array, abs(error), abs(error), error**2 / total)


def _problems(found: Forecast, entries: list[TapeEntry], adjoints: Adjoints, dtype) -> Iterator[Problem]:
    precision = precision_of(dtype)

    def problem(kind, k: int, message: str) -> Problem:
        entry = entries[k]
        return Problem(kind, entry.number, entry.source, f"{entry.name or f'v{k}'} = {entry.symbol} {message}")

    if not found.nonlinearity <= VALID:
        message = (
            f"with the largest errors the result changes by {found.nonlinearity:.0%} more than to first order: "
            "no forecast"
        )
        yield Problem("second order", None, None, message)
    for k in found.overflow:
        yield problem("overflow", k, f"exceeds {precision.largest:.4g}, the largest number of {np.dtype(dtype).name}")
    for k in found.runs.decisions:
        yield problem("decision", k, "may turn out differently: its operands differ by less than their errors")
    for k, entry in enumerate(entries):
        record = entry._line.record
        if any(error is not None and error.assumed for error in found.errors[k]):
            yield problem("unknown operation", k, "has no model of its rounding error: 8 n u |value| is assumed")
        if _underflows(record, adjoints, precision.smallest):
            yield problem("underflow", k, f"is smaller than {precision.smallest:.4g} and loses digits")
        lost = _cancelled(record, adjoints, found)
        if lost > 0.1 * found.first_order:
            yield problem(
                "cancellation", k, f"is small, and its terms are large: their errors add {lost:.2g} to the result"
            )


def _underflows(record, adjoints: Adjoints, smallest: float) -> bool:
    for value in record.outputs:
        adjoint = adjoints.of(value)
        if adjoint is not None and is_differentiable(value.array):
            size = np.abs(np.asarray(value.array))
            if np.any((size > 0) & (size < smallest) & (np.asarray(adjoint) != 0)):
                return True
    return False


def _cancelled(record, adjoints: Adjoints, found: Forecast) -> float:
    """The error of the result from the errors of the terms of a sum, where the terms cancel."""
    name, (result, *_) = record.equation.primitive.name, record.outputs
    adjoint, moved = adjoints.of(result), found.runs.values.get(result)
    computed = any(value not in found.known for value in record.inputs)  # the others are arguments and constants
    if name not in ("add", "sub", "add_any", "reduce_sum") or adjoint is None or moved is None or not computed:
        return 0.0
    terms = [np.abs(np.asarray(value.array)) for value in record.inputs]
    total = terms[0].sum(record.equation.params["axes"]) if name == "reduce_sum" else terms[0] + terms[1]
    exact = np.asarray(result.array)
    cancels = total > CANCELLATION * np.abs(exact)
    return float(np.sum(np.abs(np.asarray(adjoint) * (np.asarray(moved) - exact)) * cancels))


# --- As text ---------------------------------------------------------------------------------------------------------

SHOWN = 8


def as_text(forecast: Rounding, rows: int = SHOWN) -> str:
    """The forecast, and a table of the operations that lose most digits."""
    size = abs(forecast.value)
    share = lambda error: f"{error:9.2e}" + (f"   {error / size:8.2g} of the result" if size else "")  # noqa: E731
    lines = [f"{forecast.name} in {forecast.dtype}: {forecast.value:.6g}", ""]
    if forecast.is_valid:
        lines += [f"error at most   {share(forecast.bound)}"]
        lines += [f"error expected  {share(forecast.expected)}: {forecast.digits:.1f} digits"]
    else:
        lines += ["beyond first order: no forecast; the table below is to first order"]
    lines += [f"error measured  {share(abs(forecast.measured))}", ""]
    table = [("line", "operation", "value", "at most", "expected", "share")]
    for loss in forecast.losses[:rows]:
        numbers = f"{loss.bound:.1e}", f"{loss.expected:.1e}", f"{loss.share:.0%}"
        table.append(
            (line_text(loss.source, forecast.file), cut(loss.operation, 40, "…"), cut(loss.value, 28, "…"), *numbers)
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [
            c.rjust(w) if k > 2 or k == 0 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(-len(table) + 1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    if len(forecast.losses) > rows:
        rest = sum(loss.share for loss in forecast.losses[rows:])
        lines.append(f"… {len(forecast.losses) - rows} more with {rest:.0%}")
    for problem in forecast.problems:
        line = line_text(problem.source, forecast.file)
        lines += ["", f"{problem.kind}{' in line ' if line else ''}{line}: {problem.message}"]
    return "\n".join(lines)


def line_text(source: Source | None, file: str | None) -> str:
    """The line, with its file where this is not that of the function; empty where Python does not know it."""
    if source is None:
        return ""
    return str(source.line) if source.file == file else f"{Path(source.file).name}:{source.line}"
