"""The gradient of whole networks by hand, beside `jax.grad` of the forward pass anybody would write, and PyTorch."""

import functools
import importlib
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_networks import (
    Case,
    bound,
    cross_entropy,
    deep,
    digits,
    images,
    labels,
    normal,
    plain_squared_error,
    residual_images,
    wide,
)
from benchmark_sequences import characters, decoder, elman, lstm, plain_attention, transformer
from benchmark_training import ratio

import bpjax as bp
from bpjax.analysis.cost import in_turn, temporary_bytes
from bpjax.rules.rule import Rule

CASES = {
    "MLP 784-1024-1024-10, 256": wide,
    "50 x 128 tanh by repeat, 128": deep,
    "CNN 28x28, 2 conv 3x3, 64": images,
    "LeNet 8x8, 64": digits,
    "ResNet-8 32x32, 32": residual_images,
    "Elman 64, T = 100, 32": elman,
    "LSTM 64, T = 100, 32": lstm,
    "char-RNN, LSTM 128, T = 64, 32": characters,
    "transformer 2 x 128, T = 128, 8": transformer,
    "decoder block 128, T = S = 128, 8": decoder,
}


def layers_table(rounds: int, seconds: float) -> list[dict]:
    """Gradients by hand, by jax.grad of the ordinary and of our forward pass and by eager PyTorch; forward passes."""
    rows = []
    for name, make in CASES.items():
        case = make()
        params, _ = case.network.init(jax.random.key(0), case.in_shape)
        programs, calls = compiled_programs(case, params)
        try:
            calls |= torch_calls(case)
        except ModuleNotFoundError:
            print("PyTorch is not installed (pip install torch): its columns are left out", flush=True)
        samples = in_turn(calls, rounds, seconds)
        mebibytes = {which: (temporary_bytes(f) or 0) / 2**20 for which, f in programs.items()}
        row = {"network, examples": name, "by hand (ms)": statistics.median(samples["by hand"]) * 1e3}
        row |= {f"/ {which}": ratio(samples, "by hand", which) for which in GRADIENTS if which in calls}
        row["forward (ms)"] = statistics.median(samples["forward"]) * 1e3
        row |= {f"/ {which}": ratio(samples, "forward", which) for which in FORWARDS if which in calls}
        row["temporary MiB"] = mebibytes["by hand"]
        row |= {f"{which}, MiB": mebibytes[which] for which in ("jax.grad, ordinary", "jax.grad, ours")}
        row["(forward + backward) / forward"] = ratio(samples, "by hand", "forward")
        row["bound"] = bound(case.products)
        rows.append(row)
    for column in ("/ jax.grad, ordinary", "/ jax.grad, ours"):
        print(f"geometric mean {column}: {statistics.geometric_mean(row[column] for row in rows):.3f}", flush=True)
    return rows


GRADIENTS = "jax.grad, ordinary", "jax.grad, ours", "PyTorch"
FORWARDS = "forward, ordinary", "forward, PyTorch"


def compiled_programs(case: Case, params) -> tuple[dict[str, Any], dict[str, Callable]]:
    """Programs and calls: the gradient by hand, by jax.grad of either forward pass, and the forward pass alone."""

    def gradient_of(rule: Rule):
        return lambda p, x, t: rule.grads(p, (), (x, t))[:2]

    functions = {
        "by hand": gradient_of(bp.backprop(case.network, case.loss)),
        "jax.grad, ordinary": jax.value_and_grad(lambda p, x, t: case.ordinary_loss(case.ordinary(p, x), t)),
        "jax.grad, ours": gradient_of(bp.autodiff(case.network, case.loss)),
        "forward": lambda p, x, t: case.loss.value(case.network.forward(p, x)[0], t),
        "forward, ordinary": lambda p, x, t: case.ordinary_loss(case.ordinary(p, x), t),
    }
    arguments = {which: (params, case.x, case.target) for which in functions}
    for which in ("jax.grad, ordinary", "forward, ordinary"):
        arguments[which] = case.unstacked(params), case.x, case.target
    compiled = {which: jax.jit(function).lower(*arguments[which]).compile() for which, function in functions.items()}
    calls = {which: functools.partial(program, *arguments[which]) for which, program in compiled.items()}
    (_, ours), (_, theirs) = calls["by hand"](), calls["jax.grad, ordinary"]()
    for a, b in zip(jax.tree.leaves(case.unstacked(ours)), jax.tree.leaves(theirs), strict=True):
        error = float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
        if error > 1e-4:
            raise RuntimeError(f"The ordinary forward pass is another function: its gradient differs by {error:.1e}.")
    return compiled, calls


def torch_calls(case: Case) -> dict[str, Callable]:
    """The same gradient and the same loss in eager PyTorch, with separate weights and as many threads as JAX."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    module = case.torch(torch)
    x, target = jax.tree.map(lambda a: torch.tensor(np.asarray(a)), (case.x, case.target))
    if not isinstance(x, tuple):
        x = x.movedim(-1, 1).contiguous() if x.ndim == 4 else x  # an image's channels come first there
        x = x if x.is_floating_point() else x.long()
    if target.is_floating_point():
        loss = lambda o: 0.5 * ((target - o) ** 2).sum()
    else:
        loss = lambda o: torch.nn.functional.cross_entropy(o, target.long())

    def gradient():
        module.zero_grad()
        loss(module(x)).backward()

    def forward():
        with torch.no_grad():
            loss(module(x))

    module.train()
    return {"PyTorch": gradient, "forward, PyTorch": forward}


def attention_table(quick: bool) -> list[dict]:
    """One attention layer over long sequences: temporary memory, and time, by hand and by jax.grad of softmax."""
    heads, width, rows = 4, 64, []
    layer = bp.attention(heads, causal=True)
    for length in (1024,) if quick else (1024, 4096):
        params, _ = layer.init(jax.random.key(0), (length, width))
        x, target = normal(1, 1, length, width), normal(2, 1, length, width)
        ordinary = lambda p, x: plain_attention(p, x, x, heads, causal=True)
        case = Case(
            layer, bp.squared_error, ordinary, plain_squared_error, lambda torch: None, (length, width), x, target, []
        )  # fmt: skip
        programs, calls = compiled_programs(case, params)
        calls = {which: call for which, call in calls.items() if "forward" not in which}
        samples = in_turn(calls, 5, 0.1)
        for which in calls:
            rows.append(
                {
                    "T": length,
                    "by": which,
                    "temporary MiB": (temporary_bytes(programs[which]) or 0) / 2**20,
                    "ms": statistics.median(samples[which]) * 1e3,
                }
            )
    return rows


def depth_table(quick: bool) -> list[dict]:
    """Seconds to trace and to compile a gradient, by depth: `repeat` against a chain of as many layers.

    The last row is a bound for the chain: a program that only doubles each of its params. Without JAX's cache of
    compiled programs.
    """
    block, depths, rows = bp.chain(bp.dense(128), bp.tanh), (10, 50) if quick else (10, 200), []
    data = normal(1, 128, 128), normal(2, 128, 128)

    def gradient(network):
        rule = bp.backprop(network, bp.squared_error)
        return lambda p: rule.grads(p, (), data)[:2]

    chain = lambda n: bp.chain(*[block] * n)
    forms = {
        "repeat": (lambda n: bp.layers.repeat(block, n), gradient),
        "chain": (chain, gradient),
        "each param of the chain doubled": (chain, lambda network: lambda p: jax.tree.map(lambda leaf: 2 * leaf, p)),
    }
    for which, (make, function) in forms.items():
        row: dict[str, Any] = {"network": which}
        for depth in depths:
            network = make(depth)
            params, _ = network.init(jax.random.key(0), (128,))
            tracing, compiling = min((seconds_to_compile(function(network), params) for _ in range(3)), key=sum)
            row |= {f"{depth} layers: trace (s)": tracing, f"{depth} layers: compile (s)": compiling}
        short, long = (sum(value for name, value in row.items() if name.startswith(f"{n} ")) for n in depths)
        rows.append(row | {"ratio": long / short})
    return rows


def seconds_to_compile(function: Callable, params) -> tuple[float, float]:
    """Seconds to trace and lower a function, and to compile it, with all caches empty."""
    cached = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        jax.clear_caches()
        start = time.perf_counter()
        lowered = jax.jit(function).lower(params)
        middle = time.perf_counter()
        lowered.compile()
        return middle - start, time.perf_counter() - middle
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


def bfloat16_table(quick: bool) -> list[dict]:
    """Distance of bfloat16 gradients from the float64 truth: by hand, and by jax.grad of the same forward pass."""
    rows = []
    for name, (network, x, target) in half_precision_cases().items():
        shape = x.shape[1:]
        ratios, worse = [], 0
        for seed in range(2 if quick else 5):
            params = bp.util.cast(network.init(jax.random.key(seed), shape)[0], jnp.bfloat16)
            rules = bp.backprop(network, cross_entropy), bp.autodiff(network, cross_entropy)
            report = bp.compare(*rules, params, bp.util.cast((x, target), jnp.bfloat16), timed=False, show=False)
            pairs = [(row.agreement.error, row.agreement.reference_error) for row in report.leaves]
            ratios += [hand / grad for hand, grad in pairs if hand and grad]
            worse += sum(hand > grad for hand, grad in pairs)
        rows.append(
            {
                "network": name,
                "error by hand / by jax.grad, geometric mean": statistics.geometric_mean(ratios),
                "best": min(ratios),
                "worst": max(ratios),
                "leaves farther": f"{worse} of {len(ratios)}",
            }
        )
    return rows


def half_precision_cases():
    """MLP, LeNet and transformer with examples and labels."""
    tokens = labels(3, 20, 16, 32)
    return {
        "MLP 64-128-64-10": (bp.mlp((64, 128, 64, 10), bp.relu), normal(1, 64, 64), labels(2, 10, 64)),
        "LeNet, digits": (bp.networks.lenet(), normal(1, 64, 64), labels(2, 10, 64)),
        "transformer, 2 blocks": (bp.transformer(20, 32, 4, 2, 32), tokens, labels(4, 20, 16, 32)),
    }
