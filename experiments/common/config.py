"""The settings that experiments share: the precision of matrix products, the seed, and the output folder."""

from dataclasses import dataclass
from pathlib import Path

from bpjax.results.record import check_replaceable
from bpjax.util.checks import check_count

PRECISIONS = ("default", "high", "highest", "float32", "tensorfloat32", "bfloat16")


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
        check_count("Config", "seed", self.seed, least=0)
        check_replaceable(self.out)
