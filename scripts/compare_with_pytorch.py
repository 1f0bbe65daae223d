"""Compare values and gradients with those of PyTorch in float64, one row for each family of operators.

    python scripts/compare_with_pytorch.py                     # the table
    python scripts/compare_with_pytorch.py --family losses     # one family
    python scripts/compare_with_pytorch.py --list              # every case with its error
    python scripts/compare_with_pytorch.py --before            # as it was before version 0.2.0

A case is `equal` if no entry differs by more than 1e-10 of the largest one, `option missing` if bpjax cannot make the
computation, else `different`. PyTorch is no dependency of bpjax: `pip install torch expecttest` into another folder,
and put it and the root of the repository on PYTHONPATH (expecttest gives the families that are PyTorch's own
operator tests). The exit status is 1 if anything is different.
"""

import argparse
import collections
import sys
import traceback

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
VERDICTS: tuple[str, ...] = ("equal", "option missing", "different")
TOLERANCE = 1e-10


def error_of(ours, theirs) -> float:
    """The largest difference, relative to the largest entry of each array; infinite for other shapes."""
    if len(ours) != len(theirs):
        return np.inf
    errors = [0.0]
    for a, b in zip(map(np.asarray, ours), map(np.asarray, theirs), strict=True):
        if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
            return np.inf
        finite = np.isfinite(b)
        scale = np.abs(b[finite]).max(initial=0.0) or 1.0
        errors.append(np.abs(a[finite] - b[finite]).max(initial=0.0) / scale)
    return max(errors)


def verdict(case, before: bool) -> tuple[str, str]:
    """(verdict, the error or what was raised)."""
    if case.ours is None or (before and case.new):
        return "option missing", ""
    try:
        error = error_of(case.ours(), case.theirs())
    except Exception:  # noqa: BLE001  (whatever either of them raises is the finding)
        return "different", traceback.format_exc().strip().splitlines()[-1]
    return ("equal" if error <= TOLERANCE else "different"), f"{error:.1e}"


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 if there is a difference."""
    from pytorch_cases import FAMILIES

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--family", action="append", choices=FAMILIES, help="only this family; may be given several times"
    )
    parser.add_argument("--list", action="store_true", help="every case with its error")
    parser.add_argument("--before", action="store_true", help="count what version 0.2.0 added as missing")
    options = parser.parse_args(argv)
    lines, totals = [], collections.Counter()
    for family in options.family or FAMILIES:
        counts = collections.Counter()
        for case in FAMILIES[family]:
            result, detail = verdict(case, options.before)
            counts[result] += 1
            totals[result] += 1
            if options.list or result == "different":
                print(f"{result:<15} {family}: {case.name} {detail}", flush=True)
        lines.append((family, counts))
    print(f"{'family':<24}{'cases':>6}" + "".join(f"{name:>16}" for name in VERDICTS))
    for family, counts in [*lines, ("all", totals)]:
        print(f"{family:<24}{sum(counts.values()):>6}" + "".join(f"{counts[name]:>16}" for name in VERDICTS))
    return int(totals["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
