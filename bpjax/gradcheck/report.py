"""The result of `compare`, as data and as a table."""

import math
from dataclasses import asdict, dataclass

from bpjax.analysis.cost import Cost
from bpjax.gradcheck.agreement import Agreement
from bpjax.gradcheck.mistakes import MISTAKES
from bpjax.util.text_table import table


@dataclass(frozen=True)
class Row:
    """One quantity compared with its float64 truth."""

    layer: int | None  # index in the chain; None for the loss and for plain functions
    name: str  # of the layer or the loss
    leaf: str  # path in the params as `jax.tree_util.keystr` prints it, or "dx", "gradient" or "value"
    agreement: Agreement


@dataclass(frozen=True)
class LayerRow:
    """One layer: its error signal in the network, and its backward compared with its own forward."""

    layer: int  # index in the chain
    name: str
    error_signal: Agreement  # ∂E/∂y, y the output of the layer
    dx_per_layer: Agreement  # dx of this layer only, for a random dy
    wrong_per_layer: str | None  # what is wrong with this layer only: a leaf's path within it, "dx", or None


@dataclass(frozen=True)
class LayerAlignment:
    """One layer of units: its whole gradient compared with the truth; see `alignment`."""

    name: str  # of its layers, "dense, tanh"
    angle: float  # degrees; NaN where either is 0
    ratio: float  # ‖gradient‖ / ‖truth‖
    signs: float  # share of the truth's nonzero entries whose sign is right


@dataclass(frozen=True)
class Wrong:
    """The first wrong quantity in backward order."""

    layer: int | None  # index in the chain; None for the loss and for plain functions
    name: str
    leaf: str


@dataclass(frozen=True, repr=False)
class Report:
    """A gradient compared with the truth. Rows are in backward order."""

    rule: str
    reference: str
    dtype: str
    depth: int  # layers with parameters
    examples: int
    value: Row | None  # the value of the loss
    loss: Row | None  # the gradient of the loss, compared with the derivative of its value
    layers: tuple[LayerRow, ...]  # empty for plain functions
    leaves: tuple[Row, ...]
    alignment: tuple[LayerAlignment, ...]  # by layer of units; empty for plain functions
    first_wrong: Wrong | None
    first_nonfinite: str | None  # path of the first leaf with a NaN or an infinity
    mistake: str | None  # the classic mistake, a key of `mistakes.MISTAKES`
    costs: dict[str, Cost]  # "rule" and "reference"; empty where not timed

    @property
    def ok(self) -> bool:
        """Whether everything agrees within its tolerance."""
        return self.first_wrong is None

    @property
    def diagnosis(self) -> str | None:
        """The likely mistake, explained; None where the gradient is right."""
        return None if self.mistake is None else f"{self.mistake}: {MISTAKES[self.mistake]}"

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.first_wrong is None:
            worst = max((row.agreement.error for row in self.leaves), default=0.0)
            leaves = "its one leaf agrees" if len(self.leaves) == 1 else f"all {len(self.leaves)} leaves agree"
            return f"right: {leaves}, the largest relative error is {worst:.1e}."
        nonfinite = f" First non-finite leaf: {self.first_nonfinite}." if self.first_nonfinite else ""
        likely = "It fits no classic mistake." if self.mistake == "unknown" else f"Likely {self.diagnosis}."
        return f"WRONG, first in backward order: {self._where()}. {likely}{nonfinite}"

    def _where(self) -> str:
        """The first wrong quantity, "layer 2 (dense), [2].w"."""
        wrong = self.first_wrong
        if wrong is None:
            return ""
        where = wrong.name if wrong.layer is None else f"layer {wrong.layer} ({wrong.name})"
        return f"{where}, {wrong.leaf}" if wrong.leaf else where

    def raise_if_wrong(self) -> None:
        """Raise an `AssertionError` with the table where something is wrong: one line in a test."""
        if not self.ok:
            raise AssertionError(str(self))

    def to_dict(self) -> dict:
        """Plain data, ready for JSON: NaN and infinities become None."""
        data = asdict(self) | {"ok": self.ok, "diagnosis": self.diagnosis, "verdict": self.verdict}
        return {key: to_plain_data(entry) for key, entry in data.items()}

    def __repr__(self) -> str:
        found = "right" if self.ok else f"WRONG at {self._where()}"
        return f"Report({self.rule} against {self.reference}, {self.dtype}: {found})"

    def __str__(self) -> str:
        batch = f", depth {self.depth}, {self.examples} examples" if self.layers else ""
        title = f"{self.rule} against {self.reference} in float64 · {self.dtype}{batch}"
        lines = [title, "", *table(HEADER, [_cells(row) for row in self._rows()])]
        for name, cost in self.costs.items():
            memory = "unknown" if cost.temporary_bytes is None else f"{cost.temporary_bytes / 1024:,.1f} KiB"
            which = self.rule if name == "rule" else self.reference
            lines.append(f"{which:>12}: {cost.seconds * 1e6:,.0f} µs per call, {memory} of temporary memory")
        if self.alignment and not self.ok:
            lines += ["", *table(ALIGNMENT_HEADER, map(_alignment_cells, self.alignment))[:-1]]
        return "\n".join([*lines, "", self.verdict])

    def _rows(self):
        """Every row of the table, last layer first: the loss, then each layer's error signal, dx and leaves."""
        yield from (row for row in (self.value, self.loss) if row is not None)
        if not self.layers:
            yield from self.leaves
        for layer in self.layers:
            yield Row(layer.layer, layer.name, "∂E/∂y", layer.error_signal)
            yield Row(layer.layer, layer.name, "dx, layer only", layer.dx_per_layer)
            yield from (row for row in self.leaves if row.layer == layer.layer)


HEADER = ("layer", "", "quantity", "error", "tolerance", "reference error", "ULP", "cosine", "ratio", "worst entry", "")
ALIGNMENT_HEADER = ("layer of units", "angle to the truth", "ratio of norms", "same signs")


def _alignment_cells(row: LayerAlignment) -> tuple[str, ...]:
    return (row.name, f"{row.angle:.2f}°", f"{row.ratio:.4g}", f"{100 * row.signs:.1f} %")


def _cells(row: Row) -> tuple[str, ...]:
    a = row.agreement
    index = "" if row.layer is None else str(row.layer)
    if a.shapes[0] != a.shapes[1]:
        return (index, row.name, row.leaf, f"shape {a.shapes[0]}", f"{a.shapes[1]}", "", "", "", "", "", "WRONG")
    ulp = f"{a.ulp:.1f}" if a.ulp < 1e4 else f"{a.ulp:.0e}"
    return (
        index,
        row.name,
        row.leaf,
        f"{a.error:.1e}",
        f"{a.tolerance:.0e}",
        "" if math.isnan(a.reference_error) else f"{a.reference_error:.1e}",
        ulp,
        "" if math.isnan(a.cosine) else f"{a.cosine:.6f}",
        "" if math.isnan(a.ratio) else f"{a.ratio:.6g}",
        ",".join(map(str, a.worst)),
        "ok" if a.ok else "WRONG",
    )


def to_plain_data(value):
    """The same data in types that JSON has: records become dictionaries, NaN and infinities become None."""
    if isinstance(value, dict):
        return {key: to_plain_data(entry) for key, entry in value.items()}
    if hasattr(value, "_asdict"):
        extra = {"ok": value.ok} if isinstance(value, Agreement) else {}
        return to_plain_data(value._asdict() | extra)
    if isinstance(value, tuple | list):
        return [to_plain_data(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
