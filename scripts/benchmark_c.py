"""Sweeps in C, compiled for one size of network (`scripts/c/sweep.c`): how fast a sweep can be on this processor."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parent / "c" / "sweep.c"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-pthread", "-Wno-psabi")
FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
INTEGERS = np.ctypeslib.ndpointer(np.int32, flags="C_CONTIGUOUS")


def c_sweeps(x, t, weights, rates, momenta, epochs: int, tolerance: float) -> dict[str, Callable]:
    """By name: a function that trains every run on all cores and returns the epochs each needed.

    Args:
        x: (N, I) examples.
        t: (N, O) targets.
        weights: (W₁, b₁, W₂, b₂) of every run: (R, I, H), (R, H), (R, H, O), (R, O).
        rates: (R,) learning rates η.
        momenta: (R,) momentum coefficients α.
        epochs: at most.
        tolerance: a run ends when every |t − o| is below it.
    """
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        print("C: no compiler (cc, gcc or clang) was found, its rows are left out")
        return {}
    hidden = weights[1].shape[1]
    flat = np.concatenate([np.asarray(leaf, np.float32).reshape(len(rates), -1) for leaf in weights], axis=1)
    arrays = [np.ascontiguousarray(a, np.float32) for a in (x, t, flat, rates, momenta)]
    calls: dict[str, Callable] = {}
    for width in widths():
        sizes = {"INPUTS": x.shape[1], "HIDDEN": hidden, "OUTPUTS": t.shape[1], "EXAMPLES": len(x), "WIDTH": width}
        library = compiled(compiler, sizes)
        calls[f"C, {width} runs to a register"] = training(library, arrays, epochs, tolerance)
    return calls


def widths() -> tuple[int, ...]:
    """Numbers of float32 in a vector register of this processor: 8 for AVX2, 16 for AVX-512; elsewhere 4."""
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text() if processor.exists() else ""
    found = tuple(width for flag, width in (("avx2", 8), ("avx512f", 16)) if f" {flag} " in flags)
    return found or (4,)


def compiled(compiler: str, sizes: dict[str, int]) -> ctypes.CDLL:
    """The library for these sizes; its file is deleted once it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder, "sweep.so"))
        defined = [f"-D{name}={size}" for name, size in sizes.items()]
        subprocess.run([compiler, *FLAGS, *defined, str(SOURCE), "-o", library], check=True)
        loaded = ctypes.CDLL(library)
    loaded.train.argtypes = [*[FLOATS] * 5, ctypes.c_int, ctypes.c_int, ctypes.c_float, INTEGERS, ctypes.c_int]
    return loaded


def training(library: ctypes.CDLL, arrays: list[np.ndarray], epochs: int, tolerance: float) -> Callable:
    """A call of `train` on all cores."""
    runs = len(arrays[-1])

    def train():
        used = np.zeros(runs, np.int32)
        failed = library.train(*arrays, runs, epochs, tolerance, used, min(os.cpu_count() or 1, 256))
        if failed:
            raise OSError(f"`train` in {SOURCE.name} could not start its threads (status {failed}).")
        return used

    return train
