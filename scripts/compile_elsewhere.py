"""Compile for hardware that this machine does not have: TPU programs ahead of time, CUDA programs lowered.

The programs are the gradient of every layer and loss in the registries, a training step of every rule and optimizer,
`fit`, sweeps, the tape, and steps on several devices. Each is lowered for CUDA and TPU by `jax.export`, and compiled
for four chips of TPU v5e by the compiler in the package libtpu (`pip install 'bpjax[tpu-compile]'`), without a device.

    python scripts/compile_elsewhere.py [--only WORD ...] [--dtype float32] [--lower] [--markdown]
"""

import argparse
import importlib.util
import os
import sys
import time
from typing import NamedTuple

import jax
import numpy as np
from elsewhere_programs import GROUPS, Program, programs
from jax import export
from jax.experimental import topologies
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, SingleDeviceSharding

from bpjax.util.extras import require_extra
from bpjax.util.text_table import table

TOPOLOGY = "v5e:2x2"
AXES = {"batch": 2, "model": 2}
AUTO = (AxisType.Auto,) * len(AXES)
WITHOUT_A_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",  # asks no metadata server of a cloud
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # the lock of libtpu is for processes that share a device
}


class Result(NamedTuple):
    """What became of a program."""

    program: Program
    lowered: str  # for CUDA and TPU: "ok", or why not
    compiled: str  # for the TPU: "ok", why not, or "" if it was not tried
    flops: float = float("nan")  # of the TPU's program, on one chip
    bytes: float = float("nan")  # that it reads and writes, on one chip
    seconds: float = float("nan")  # to compile

    @property
    def ok(self) -> bool:
        """Whether nothing refused it."""
        return self.lowered == "ok" and self.compiled in ("ok", "")


def tpu_devices() -> list:
    """The chips to compile for; a `ModuleNotFoundError` that names the extra if libtpu is missing."""
    with require_extra("TPU programs are compiled by libtpu", "tpu-compile"):
        if importlib.util.find_spec("libtpu") is None:
            raise ModuleNotFoundError("libtpu")
    for name, value in WITHOUT_A_TPU.items():
        os.environ.setdefault(name, value)
    return topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY).devices


def attempt(program: Program, chips: list) -> Result:
    """Lower a program for CUDA and TPU and, if there are chips, compile it for them."""
    lowered = said(lambda: lower(program))
    if not chips:
        return Result(program, lowered, "")
    started = time.perf_counter()
    costs: dict = {}
    compiled = said(lambda: costs.update(compile_for(program, chips)))
    seconds = time.perf_counter() - started
    return Result(program, lowered, compiled, costs.get("flops", 0.0), costs.get("bytes accessed", 0.0), seconds)


def said(call) -> str:
    """The word "ok", or the first line of what the call raises."""
    try:
        call()
    except Exception as error:  # whatever a compiler raises is a row of the table
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return "ok"


def lower(program: Program) -> export.Exported:
    """The program in StableHLO, for CUDA and TPU."""
    mesh = AbstractMesh(tuple(AXES.values()), tuple(AXES), axis_types=AUTO)
    arguments = placed(program, lambda spec: NamedSharding(mesh, spec)) if program.places else program.arguments
    return export.export(jax.jit(program.function), platforms=("cuda", "tpu"))(*arguments)


def compile_for(program: Program, chips: list) -> dict:
    """The costs of the program compiled for one chip, or for all where it has places for its arguments."""
    if program.places:
        mesh = Mesh(np.reshape(chips, tuple(AXES.values())), tuple(AXES), axis_types=AUTO)
        arguments = placed(program, lambda spec: NamedSharding(mesh, spec))
    else:
        one = SingleDeviceSharding(chips[0])
        arguments = jax.tree.map(lambda leaf: on(leaf, one), program.arguments)
    return dict(jax.jit(program.function).lower(*arguments).compile().cost_analysis() or {})


def placed(program: Program, sharding_of) -> tuple:
    """The arguments with the sharding that their places say."""

    def all_of(spec, leaves):
        return jax.tree.map(lambda leaf: on(leaf, sharding_of(spec)), leaves)

    return jax.tree.map(all_of, program.places, program.arguments)


def on(leaf: jax.ShapeDtypeStruct, sharding) -> jax.ShapeDtypeStruct:
    """The shape of an array that lies there."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def shown(results: list[Result], markdown: bool) -> str:
    """The table, and how many of each group are ok."""
    header = ("group", "program", "CUDA and TPU lowered", "TPU compiled", "flops", "bytes", "seconds")
    number = lambda value: "" if np.isnan(value) else f"{value:.3g}"
    rows = [
        (r.program.group, r.program.name, r.lowered, r.compiled, *map(number, (r.flops, r.bytes, r.seconds)))
        for r in results
    ]
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows)]
    else:
        lines = table(header, rows)
    counts = [(group, [r.ok for r in results if r.program.group == group]) for group in GROUPS]
    return "\n".join([*lines, "", *(f"{group}: {sum(oks)} of {len(oks)} ok" for group, oks in counts if oks)])


def main(arguments=None) -> int:
    """Compile, print the table, return 1 if a program is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="WORD", help=f"groups ({', '.join(GROUPS)}) and parts of names"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--lower", action="store_true", help="do not compile for the TPU, which needs libtpu")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(arguments)
    try:
        chips = [] if options.lower else tpu_devices()
    except ModuleNotFoundError as error:
        print(f"{error} Or lower only: --lower.", file=sys.stderr)
        return 2
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # its entries are read by devices
    results = []
    with jax.enable_x64(options.dtype == "float64"):
        chosen = programs(options.only)
        for number, program in enumerate(chosen, start=1):
            print(f"[{number}/{len(chosen)}] {program.group}: {program.name}", file=sys.stderr, flush=True)
            results.append(attempt(program, chips))
    print(shown(results, options.markdown))
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
