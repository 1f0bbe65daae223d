"""A function evaluated by the LLVM compiler of lanes, one run per entry of the first axis, for tests."""

import jax
import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import in_memory
from bpjax.sweeps.lanes.llvm.compiled import address, aligned, lanes_of, rows_of_lanes
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory
from bpjax.sweeps.lanes.llvm.flatten import flatten_jaxpr
from bpjax.sweeps.lanes.llvm.machine import Machine, processor
from bpjax.sweeps.lanes.llvm.program import store_results
from bpjax.sweeps.lanes.llvm.rows import rows_of
from bpjax.sweeps.lanes.llvm.rules import evaluate, largest_of


def evaluated(function, *arrays, width=4):
    """The results of `function`, a list of arrays (runs, ...), for arrays (runs, ...)."""
    arrays = [np.asarray(array) for array in arrays]
    one = [jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for a in arrays]
    closed = jax.make_jaxpr(function)(*one)
    inputs, outputs = rows_of(one), rows_of([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in closed.out_avals])
    flat = flatten_jaxpr(closed)
    emitter = Emitter(width, processor(), largest_of(flat))
    _, lanes, out, _ = map(Memory, emitter.begin("function", 4))
    of_run = [in_memory(emitter, f.shape, f.dtype, lanes, f.offset * width) for f in inputs.fields]
    store_results(emitter, evaluate(emitter, flat, of_run), outputs, out)
    emitter.end()
    call = Machine(str(emitter.module)).function("function", 4)

    rows = inputs.buffer(len(arrays[0]))
    inputs.write(rows, arrays)
    lanes, scratch = lanes_of(inputs, rows, width), aligned(emitter.scratch_bytes)
    results = aligned(len(lanes) * outputs.lanes_bytes(width)).reshape(len(lanes), -1)
    for group, result in zip(lanes, results, strict=True):
        call(address(scratch), address(group), address(result), 0)
    return outputs.read(rows_of_lanes(outputs, results, width)[: len(rows)])
