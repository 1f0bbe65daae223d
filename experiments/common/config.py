"""The settings that experiments share: the precision of matrix products, the seed, and the output folder."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from bpjax.results.record import check_replaceable
from bpjax.util.checks import check_count, check_number

PRECISIONS = ("default", "high", "highest", "float32", "tensorfloat32", "bfloat16")
LARGEST = 10_000_000
"""The largest size, count or number of epochs: beyond it no machine ends."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class of an experiment's `Config`. Each field becomes a flag; its docstring becomes the help text."""

    matmul_precision: str = "highest"
    """Precision of matrix products, as `jax.default_matmul_precision` takes it."""

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range. A subclass checks its own fields and calls this."""
        if self.matmul_precision not in PRECISIONS:
            raise ValueError(
                f"`Config` expected `matmul_precision` among {', '.join(PRECISIONS)}, got {self.matmul_precision!r}."
            )
        for field in fields(self):
            default = field.default if isinstance(field.default, tuple) else ()
            check_field(field.name, getattr(self, field.name), default)


def check_field(name: str, value, default: tuple) -> None:
    """Raise a `ValueError` for what no experiment can use: NaN, infinity, nothing, repeats, sizes out of reach."""
    if isinstance(value, float):
        check_number("Config", name, value)
    elif isinstance(value, int) and not isinstance(value, bool) and name != "seed":
        check_count("Config", name, value, least=0, most=LARGEST)
    elif isinstance(value, tuple):
        if not value and default:
            raise ValueError(f"`Config` expected at least one entry in `{name}`, got none.")
        distinct = len(set(value)) == len(value) or len(set(default)) < len(default)
        if not distinct:
            raise ValueError(f"`Config` expected distinct entries in `{name}`, got {value}.")
        for entry in value:
            check_field(name, entry, ())


@dataclass(frozen=True, kw_only=True)
class StoredSettings(Settings):
    """Settings of an experiment that draws random numbers and stores its result."""

    seed: int = 0
    """Root of all random numbers."""
    out: Path = Path("results")
    """Output folder. It is written aside and replaced when the run is complete."""

    def check(self) -> None:
        """Raise a `ValueError` for a value out of range."""
        super().check()
        check_count("Config", "seed", self.seed, least=0, most=2**32 - 1)
        check_replaceable(self.out)


@dataclass(frozen=True, kw_only=True)
class QuickSettings(StoredSettings):
    """Settings of an experiment with a short form: the same figures, coarser."""

    QUICK: ClassVar[Mapping[str, Any]] = {}
    """The defaults of a quick run, where they differ; a subclass names them."""

    quick: bool = False
    """Other defaults: fewer runs, coarser figures. Flags that are given still count."""

    @classmethod
    def quickly(cls) -> Self:
        """The settings of a quick run."""
        return cls(quick=True, **cls.QUICK)
