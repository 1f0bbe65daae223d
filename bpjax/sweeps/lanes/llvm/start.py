"""The function that starts runs: W runs before their first epoch.

start(scratch, given, lanes, constants)

given       lanes of the sweep's key, and of the seed and the hyperparameters of each run
lanes       the state, the hyperparameters and the key of each run, as in `train`
constants   the arrays that the trial closes over

The key of a run is the sweep's key with the seed folded in. Keys and random bits are those of JAX.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from bpjax.sweeps.lanes.llvm.arrays import Array, Keys, in_memory, shared
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory
from bpjax.sweeps.lanes.llvm.flatten import flatten
from bpjax.sweeps.lanes.llvm.keys import WORD, threefry
from bpjax.sweeps.lanes.llvm.machine import processor
from bpjax.sweeps.lanes.llvm.program import layouts_of, read, store_results
from bpjax.sweeps.lanes.llvm.rows import Rows, rows_of
from bpjax.sweeps.lanes.llvm.rules import check_rules, evaluate
from bpjax.util.garbage import collection_put_off


class StartText(NamedTuple):
    """Code before it is compiled."""

    text: str
    width: int  # W, runs side by side
    given: Rows  # the sweep's key, the seed, the hyperparameters
    run: Rows  # the state, the hyperparameters, the key
    constants: Rows
    scratch: int  # bytes of memory for intermediate results


@functools.lru_cache(maxsize=32)
@collection_put_off()
def write_start(computation, curve_epochs: tuple[int, ...], width: int) -> StartText:
    """The code, cached by the structure of the trial.

    Loops are not written out, as the code runs once for each run.

    Args:
        computation: the traced trial.
        curve_epochs: whose values lie behind a run in its row.
        width: W, runs side by side.

    Raises:
        Unsupported: it needs something for which there is no rule.
    """
    layouts, (key, hyperparameters) = layouts_of(computation, curve_epochs, width), computation.arguments
    given = rows_of([key, jax.ShapeDtypeStruct((), np.uint32), *jax.tree.leaves(hyperparameters)])
    emitter = Emitter(width, processor())
    emitter.unroll = 1
    _, inputs, lanes, constants = map(Memory, emitter.begin("start", 4))
    part = computation.start
    steps = flatten(part.equations, (*part.constants, *part.inputs), part.outputs)
    sweep_key, seed, *values = (read(emitter, field, in_memory, inputs, width) for field in given.fields)
    known = [read(emitter, field, shared, constants, 1) for field in layouts.constants.fields]
    check_rules(steps)
    run_key = folded(emitter, sweep_key, seed)
    state = evaluate(emitter, steps, [*known, run_key, *values])
    store_results(emitter, [*state, *values, run_key], layouts.run, lanes)
    emitter.end()
    return StartText(str(emitter.module), width, given, layouts.run, layouts.constants, emitter.scratch_bytes)


def folded(emitter: Emitter, key, seed) -> Keys:
    """The key with the seed folded in, as by `jax.random.fold_in`."""
    if not isinstance(key, Keys):
        raise Unsupported("keys of this generator")
    words = threefry(emitter, (key.first.get(()), key.second.get(())), (emitter.constant(0, WORD), seed.get(())))
    return Keys(*(Array((), WORD, lambda _, word=word: word, is_cheap=True) for word in words))
