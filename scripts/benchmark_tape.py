"""`bpjax.tape.reverse` beside `jax.value_and_grad`, compiled: time, memory and compilation of networks' gradients."""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from benchmark_layers import CASES, Case
from benchmark_training import ratio
from jax.experimental.compilation_cache import compilation_cache

from bpjax.analysis.cost import in_turn
from bpjax.tape import reverse

REVERSE, GRAD = "reverse", "jax.grad"


def tape_table(rounds: int, seconds: float, compilations: int) -> list[dict]:
    """The gradient of an ordinary forward pass by `reverse` / by `jax.value_and_grad`."""
    rows = []
    for name, make in CASES.items():
        case = make()
        params, _ = case.network.init(jax.random.key(0), case.in_shape)
        arguments = case.unstacked(params), case.x, case.target
        compiled, taken = compiled_in_turn(case, arguments, compilations)
        calls = {which: functools.partial(program, *arguments) for which, program in compiled.items()}
        error = difference(*(call() for call in calls.values()))
        samples = in_turn(calls, rounds, seconds)
        mebibytes = {which: allocated_bytes(program) / 2**20 for which, program in compiled.items()}
        rows.append(
            {
                "network, examples": name,
                "reverse (ms)": statistics.median(samples[REVERSE]) * 1e3,
                "jax.grad (ms)": statistics.median(samples[GRAD]) * 1e3,
                "time ratio": ratio(samples, REVERSE, GRAD),
                "reverse (MiB)": mebibytes[REVERSE],
                "jax.grad (MiB)": mebibytes[GRAD],
                "memory ratio": mebibytes[REVERSE] / mebibytes[GRAD],
                "compile (s)": statistics.median(taken[REVERSE]),
                "compile ratio": ratio(taken, REVERSE, GRAD),
                "difference": error,
            }
        )
    for column in ("time ratio", "memory ratio", "compile ratio"):
        print(f"geometric mean {column}: {statistics.geometric_mean(row[column] for row in rows):.3f}", flush=True)
    return rows


def compiled_in_turn(case: Case, arguments, times: int) -> tuple[dict, dict[str, list[float]]]:
    """Both programs, and the seconds to trace and compile each, taken in turn without any cache."""
    compiled, taken = {}, {REVERSE: [], GRAD: []}
    with without_cache():
        for turn in range(times):
            for which in (REVERSE, GRAD)[:: 1 if turn % 2 == 0 else -1]:
                jax.clear_caches()
                begun = time.perf_counter()
                compiled[which] = jax.jit(gradient_of(case, which)).lower(*arguments).compile()
                taken[which].append(time.perf_counter() - begun)
    return {which: compiled[which] for which in (REVERSE, GRAD)}, taken


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Compile every program here, even where a folder of compiled programs is set."""
    enabled = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX reads the setting once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


def gradient_of(case: Case, which: str) -> Callable:
    """The value and the gradient of the ordinary loss, as a new function."""

    def loss(params, x, target):
        return case.ordinary_loss(case.ordinary(params, x), target)

    return reverse(loss) if which == REVERSE else jax.value_and_grad(loss)


def allocated_bytes(compiled) -> int:
    """Temporary bytes and those of the results."""
    analysis = compiled.memory_analysis()
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def difference(ours, theirs) -> float:
    """The largest relative difference of a gradient's arrays; refuses other functions."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    found = max(float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in pairs)
    if found > 1e-4:
        raise RuntimeError(f"`reverse` computes another gradient than `jax.grad`: it differs by {found:.1e}.")
    return found
