"""The gradient of whole networks by hand, beside `jax.grad` of the forward pass anybody would write, and PyTorch.

The ordinary forward passes are written here in plain `jax.numpy` and `jax.lax`: pooling by `reduce_window`, cells in a
`scan`, attention by softmax. They take our params, so that their gradients can be compared number by number.
"""

import functools
import importlib
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from benchmark_training import ratio

import bpjax as bp
from bpjax.analysis.cost import in_turn, temporary_bytes
from bpjax.rules.rule import Rule

cross_entropy = bp.losses.batch_mean(bp.softmax_cross_entropy)


def plain_cross_entropy(output, labels):
    """The mean over the examples of −ln softmax(o)ₜ, as anybody would write it."""
    picked = jnp.take_along_axis(jax.nn.log_softmax(output), labels[..., None], axis=-1)
    return -jnp.sum(picked) / len(output)


def plain_squared_error(output, target):
    """½ Σ (t − o)²."""
    return 0.5 * jnp.sum((target - output) ** 2)


class Case(NamedTuple):
    """A network, the same in ordinary JAX and in PyTorch, and what it is run on."""

    network: bp.Layer
    loss: bp.losses.Loss
    ordinary: Callable  # (params, x) -> output
    ordinary_loss: Callable  # (output, target) -> scalar
    torch: Callable  # (torch) -> module
    in_shape: tuple[int, ...]
    x: Any
    target: Any
    products: list[tuple[int, bool]]  # multiplications of the forward pass, and whether an error goes back through them
    unstacked: Callable = lambda params: params  # our params as the ordinary forward pass takes them


def bound(products: list[tuple[int, bool]]) -> float:
    """Multiplications (forward + backward) / forward: twice the forward's, without the input gradient of the first."""
    forward = sum(count for count, _ in products)
    return (2 * forward + sum(count for count, goes_back in products if goes_back)) / forward


def normal(seed: int, *shape: int):
    """Normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def labels(seed: int, classes: int, *shape: int):
    """Labels drawn evenly."""
    return jax.random.randint(jax.random.key(seed), shape, 0, classes)


def wide() -> Case:
    """MLP 784-1024-1024-10, 256 examples."""
    sizes, examples = (784, 1024, 1024, 10), 256

    def ordinary(params, x):
        for p in params[:-1:2]:
            x = jax.nn.relu(x @ p.w + p.b)
        return x @ params[-1].w + params[-1].b

    def torch(torch):
        relu, linear = torch.nn.ReLU, torch.nn.Linear
        return torch.nn.Sequential(linear(784, 1024), relu(), linear(1024, 1024), relu(), linear(1024, 10))

    products = [(examples * a * b, i > 0) for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))]
    data = normal(1, examples, 784), labels(2, 10, examples)
    return Case(bp.mlp(sizes, bp.relu), cross_entropy, ordinary, plain_cross_entropy, torch, (784,), *data, products)


def deep() -> Case:
    """50 layers of 128 tanh units by `repeat`, 128 examples."""
    depth, width, examples = 50, 128, 128

    def ordinary(params, x):
        return jax.lax.scan(lambda x, p: (jnp.tanh(x @ p.w + p.b), None), x, params[0])[0]

    def torch(torch):
        layers = [module for _ in range(depth) for module in (torch.nn.Linear(width, width), torch.nn.Tanh())]
        return torch.nn.Sequential(*layers)

    network = bp.layers.repeat(bp.chain(bp.dense(width), bp.tanh), depth)
    products = [(examples * width * width, i > 0) for i in range(depth)]
    data = normal(1, examples, width), normal(2, examples, width)
    return Case(network, bp.squared_error, ordinary, plain_squared_error, torch, (width,), *data, products)


def images() -> Case:
    """A small CNN: 28 × 28, two 3 × 3 convolutions with pooling, 64 examples."""
    examples = 64

    def ordinary(params, x):
        for p in (params[0], params[3]):
            x = jax.lax.conv_general_dilated(x, p.w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + p.b)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.reshape(len(x), -1) @ params[7].w + params[7].b

    def torch(torch):
        nn = torch.nn
        return nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(7 * 7 * 64, 10)),
        )

    network = bp.chain(
        *(bp.conv(32, (3, 3)), bp.relu, bp.max_pool((2, 2)), bp.conv(64, (3, 3)), bp.relu, bp.max_pool((2, 2))),
        *(bp.flatten, bp.dense(10)),
    )
    counts = [28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64, 7 * 7 * 64 * 10]
    products = [(examples * count, i > 0) for i, count in enumerate(counts)]
    data = normal(1, examples, 28, 28, 1), labels(2, 10, examples)
    return Case(network, cross_entropy, ordinary, plain_cross_entropy, torch, (28, 28, 1), *data, products)


TIME, WIDTH, SEQUENCES = 100, 64, 32


def recurrent_case(network, ordinary, kind: str, gates: int) -> Case:
    """A recurrent net of 64 units over 100 steps, 32 sequences, squared error at every step."""

    def torch(torch):
        class Outputs(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = getattr(torch.nn, kind)(WIDTH, WIDTH, batch_first=True)

            def forward(self, x):
                return self.net(x)[0]

        return Outputs()

    count = TIME * SEQUENCES * WIDTH * WIDTH * gates
    data = normal(1, SEQUENCES, TIME, WIDTH), normal(2, SEQUENCES, TIME, WIDTH)
    products = [(count, False), (count, True)]
    return Case(
        network, bp.squared_error, ordinary, plain_squared_error, torch, (TIME, WIDTH), *data, products
    )  # fmt: skip


def elman() -> Case:
    """Elman net."""

    def ordinary(p, x):
        def step(h, x):
            h = jnp.tanh(x @ p.wx + h @ p.wh + p.b)
            return h, h

        start = jnp.zeros((len(x), WIDTH), x.dtype)
        return jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return recurrent_case(bp.unroll(bp.layers.elman(WIDTH)), ordinary, "RNN", gates=1)


def lstm() -> Case:
    """LSTM."""

    def ordinary(p, x):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x @ p.wx + h @ p.wh + p.b, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = (jnp.zeros((len(x), WIDTH), x.dtype),) * 2
        return jax.lax.scan(step, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return recurrent_case(bp.unroll(bp.lstm(WIDTH)), ordinary, "LSTM", gates=4)


def plain_layer_norm(p, x):
    """Layer normalization, as anybody would write it."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * p.gain + p.bias


def plain_attention(p, x, heads: int):
    """Causal softmax attention with the whole T × T matrix."""
    n, t, d = x.shape
    in_heads = lambda a: a.reshape(n, t, heads, d // heads)
    q, k, v = in_heads(x @ p.w_q + p.b_q), in_heads(x @ p.w_k), in_heads(x @ p.w_v + p.b_v)
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(d // heads)
    scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)
    y = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), v).reshape(n, t, d)
    return y @ p.w_o + p.b_o


def transformer() -> Case:
    """Two causal transformer blocks, d = T = 128, 4 heads, 8 sequences."""
    width, time, heads, examples, blocks = 128, 128, 4, 8, 2

    def ordinary(params, x):
        for (norm, attention), (second, up, _, down) in params:
            x = x + plain_attention(attention, plain_layer_norm(norm, x), heads)
            hidden = jax.nn.gelu(plain_layer_norm(second, x) @ up.w + up.b, approximate=False)
            x = x + hidden @ down.w + down.b
        return x

    def torch(torch):
        class Blocks(torch.nn.Module):
            def __init__(self):
                super().__init__()
                options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
                layer = functools.partial(torch.nn.TransformerEncoderLayer, width, heads, 4 * width, **options)
                self.layers = torch.nn.ModuleList([layer() for _ in range(blocks)])
                self.mask = torch.nn.Transformer.generate_square_subsequent_mask(time)

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x, src_mask=self.mask, is_causal=True)
                return x

        return Blocks()

    network = bp.layers.repeat(bp.networks.transformer_block(width, heads, causal=True), blocks)
    places = examples * time
    products = []
    for _ in range(blocks):
        products += [
            (places * 4 * width * width, True),
            (examples * time * (time + 1) * width, True),
        ]  # half the scores
        products += [(places * 8 * width * width, True)]
    products[0] = (products[0][0] // 4, True)
    products[0:0] = [(3 * places * width * width, True)]
    data = normal(1, examples, time, width), normal(2, examples, time, width)
    return Case(
        network,
        bp.squared_error,
        ordinary,
        plain_squared_error,
        torch,
        (time, width),
        *data,
        products,
        lambda p: bp.layers.unstack(p, blocks),
    )


CASES = {
    "MLP 784-1024-1024-10, 256": wide,
    "50 x 128 tanh by repeat, 128": deep,
    "CNN 28x28, 2 conv 3x3, 64": images,
    "Elman 64, T = 100, 32": elman,
    "LSTM 64, T = 100, 32": lstm,
    "transformer 2 x 128, T = 128, 8": transformer,
}


def layers_table(rounds: int, seconds: float) -> list[dict]:
    """Gradients by hand / by jax.grad of the ordinary forward / of our own forward / by PyTorch, eager."""
    rows = []
    for name, make in CASES.items():
        case = make()
        params, _ = case.network.init(jax.random.key(0), case.in_shape)
        programs, calls = compiled_programs(case, params)
        try:
            calls["PyTorch"] = torch_gradient(case)
        except ModuleNotFoundError:
            print("PyTorch is not installed (pip install torch): its column is left out", flush=True)
        samples = in_turn(calls, rounds, seconds)
        mebibytes = {which: (temporary_bytes(f) or 0) / 2**20 for which, f in programs.items()}
        row = {"network, examples": name, "by hand (ms)": statistics.median(samples["by hand"]) * 1e3}
        row |= {
            f"/ {which}": ratio(samples, "by hand", which) for which in calls if which not in ("by hand", "forward")
        }
        row["temporary MiB"] = mebibytes["by hand"]
        row |= {f"{which}, MiB": mebibytes[which] for which in ("jax.grad, ordinary", "jax.grad, ours")}
        row["(forward + backward) / forward"] = ratio(samples, "by hand", "forward")
        row["bound"] = bound(case.products)
        rows.append(row)
    for column in ("/ jax.grad, ordinary", "/ jax.grad, ours"):
        print(f"geometric mean {column}: {statistics.geometric_mean(row[column] for row in rows):.3f}", flush=True)
    return rows


def compiled_programs(case: Case, params) -> tuple[dict[str, Any], dict[str, Callable]]:
    """Programs and calls: the gradient by hand, by jax.grad of either forward pass, and the forward pass alone."""

    def gradient_of(rule: Rule):
        return lambda p, x, t: rule.grads(p, (), (x, t))[:2]

    functions = {
        "by hand": gradient_of(bp.backprop(case.network, case.loss)),
        "jax.grad, ordinary": jax.value_and_grad(lambda p, x, t: case.ordinary_loss(case.ordinary(p, x), t)),
        "jax.grad, ours": gradient_of(bp.autodiff(case.network, case.loss)),
        "forward": lambda p, x, t: case.loss.value(case.network.forward(p, x)[0], t),
    }
    arguments = {which: (params, case.x, case.target) for which in functions}
    arguments["jax.grad, ordinary"] = case.unstacked(params), case.x, case.target
    compiled = {which: jax.jit(function).lower(*arguments[which]).compile() for which, function in functions.items()}
    calls = {which: functools.partial(program, *arguments[which]) for which, program in compiled.items()}
    (_, ours), (_, theirs) = calls["by hand"](), calls["jax.grad, ordinary"]()
    for a, b in zip(jax.tree.leaves(case.unstacked(ours)), jax.tree.leaves(theirs), strict=True):
        error = float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
        if error > 1e-4:
            raise RuntimeError(f"The ordinary forward pass is another function: its gradient differs by {error:.1e}.")
    return compiled, calls


def torch_gradient(case: Case) -> Callable:
    """The same gradient in eager PyTorch, with separate weights."""
    torch = importlib.import_module("torch")
    module = case.torch(torch)
    x, target = torch.tensor(np.asarray(case.x)), torch.tensor(np.asarray(case.target))
    x = x.movedim(-1, 1).contiguous() if x.ndim == 4 else x  # an image's channels come first there
    if target.dtype in (torch.int32, torch.int64):
        loss = lambda o: torch.nn.functional.cross_entropy(o, target.long())
    else:
        loss = lambda o: 0.5 * ((target - o) ** 2).sum()

    def gradient():
        module.zero_grad()
        loss(module(x)).backward()

    return gradient


def attention_table(quick: bool) -> list[dict]:
    """One attention layer over long sequences: temporary memory, and time, by hand and by jax.grad of softmax."""
    heads, width, rows = 4, 64, []
    layer = bp.attention(heads, causal=True)
    for length in (1024,) if quick else (1024, 4096):
        params, _ = layer.init(jax.random.key(0), (length, width))
        x, target = normal(1, 1, length, width), normal(2, 1, length, width)
        ordinary = lambda p, x: plain_attention(p, x, heads)
        case = Case(
            layer, bp.squared_error, ordinary, plain_squared_error, lambda torch: None, (length, width), x, target, []
        )  # fmt: skip
        programs, calls = compiled_programs(case, params)
        calls.pop("forward")
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
    """Seconds to trace and compile a gradient, by depth: `repeat` against a chain of as many layers."""
    block = bp.chain(bp.dense(128), bp.tanh)
    x, target, rows = normal(1, 128, 128), normal(2, 128, 128), []
    forms = {"repeat": lambda n: bp.layers.repeat(block, n), "chain": lambda n: bp.chain(*[block] * n)}
    for which, make in forms.items():
        seconds = {}
        for depth in (10, 50) if quick else (10, 200):
            network = make(depth)
            params, _ = network.init(jax.random.key(0), (128,))
            rule = bp.backprop(network, bp.squared_error)
            taken = []
            for _ in range(3):
                jax.clear_caches()
                start = time.perf_counter()
                jax.jit(lambda p, b, rule=rule: rule.grads(p, (), b)[:2]).lower(params, (x, target)).compile()
                taken.append(time.perf_counter() - start)
            seconds[depth] = min(taken)
        (few, many), (short, long) = seconds, seconds.values()
        rows.append({"network": which, f"{few} layers (s)": short, f"{many} layers (s)": long, "ratio": long / short})
    return rows


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
