"""Keys of random numbers, and draws: Threefry-2x32 of JAX in integers, bit for bit.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": 20 rounds of additions, rotations and exclusive ors
turn a key and a counter, of two 32-bit words each, into two words. JAX draws entry k with the counter (0, k).
"""

import math
from collections.abc import Callable

import jax
import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.arrays import Array, Keys, allocate, linear, put, view
from bpjax.sweeps.lanes.llvm.dtypes import Unsupported, Value
from bpjax.sweeps.lanes.llvm.emitter import Emitter
from bpjax.sweeps.lanes.llvm.shapes import pieces, reshaped

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA
WORD = "uint32"


def threefry(emitter: Emitter, key: tuple[Value, Value], count: tuple[Value, Value]) -> tuple[Value, Value]:
    """Two words from a key and a counter."""
    function = emitter.module.globals.get("threefry") or threefry_function(emitter)
    words = emitter.b.call(function, [*key, *count])
    return emitter.b.extract_value(words, 0), emitter.b.extract_value(words, 1)


def threefry_function(emitter: Emitter) -> ir.Function:
    """The function of a module that `threefry` calls: its code is compiled once."""
    word = emitter.vector(WORD)
    kind = ir.FunctionType(ir.LiteralStructType([word, word]), [word] * 4)
    function = ir.Function(emitter.module, kind, "threefry")
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("body"))
    *key, first, second = function.args
    schedule = [*key, b.xor(b.xor(key[0], key[1]), emitter.constant(PARITY, WORD))]
    x, y = b.add(first, key[0]), b.add(second, key[1])
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = b.add(x, y)
            left = b.shl(y, emitter.constant(rotation, WORD))
            y = b.xor(x, b.or_(left, b.lshr(y, emitter.constant(32 - rotation, WORD))))
        x = b.add(x, schedule[(group + 1) % 3])
        y = b.add(b.add(y, schedule[(group + 2) % 3]), emitter.constant(group + 1, WORD))
    both = b.insert_value(ir.Constant(kind.return_type, ir.Undefined), x, 0)
    b.ret(b.insert_value(both, y, 1))
    return function


def check_partitionable() -> None:
    """Raise `Unsupported` where JAX numbers the draws in another way."""
    if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        raise Unsupported("jax_threefry_partitionable=False")


def counter(emitter: Emitter, number) -> tuple[Value, Value]:
    """The counter of an entry."""
    zero = emitter.constant(0, WORD)
    if isinstance(number, int):
        return zero, emitter.constant(number, WORD)
    return zero, emitter.b.trunc(emitter.splat(number), emitter.vector(WORD))


def new_keys(emitter: Emitter, shape, words_of: Callable) -> Keys:
    """Keys in memory; `words_of(indices)` are the two words of an entry."""
    first, second = allocate(emitter, shape, WORD), allocate(emitter, shape, WORD)

    def draw(indices):
        for target, word in zip((first, second), words_of(indices), strict=True):
            put(emitter, target, indices, word)

    emitter.nest(shape, draw)
    return Keys(first, second)


def random_fold_in(emitter: Emitter, equation, arrays: list) -> list:
    """A key for each number."""
    keys, data = arrays
    if np.dtype(data.dtype).itemsize != 4:
        raise Unsupported(f"random_fold_in of {data.dtype}")
    zero = emitter.constant(0, WORD)

    def words_of(indices):
        return threefry(emitter, (keys.first.at(indices), keys.second.at(indices)), (zero, data.at(indices)))

    return [new_keys(emitter, equation.outvars[0].aval.shape, words_of)]


def random_split(emitter: Emitter, equation, arrays: list) -> list:
    """Several keys from each."""
    check_partitionable()
    (keys,), shape = arrays, equation.params["shape"]
    rank = len(keys.first.shape)

    def words_of(indices):
        key = keys.first.get(indices[:rank]), keys.second.get(indices[:rank])
        return threefry(emitter, key, counter(emitter, linear(emitter, shape, indices[rank:])))

    return [new_keys(emitter, equation.outvars[0].aval.shape, words_of)]


def random_bits(emitter: Emitter, equation, arrays: list) -> list:
    """Random integers of 32 or 64 bits."""
    check_partitionable()
    (keys,), shape = arrays, equation.params["shape"]
    bits, rank = equation.params["bit_width"], len(keys.first.shape)
    if bits not in (32, 64) or math.prod(shape) >= 2**31:
        raise Unsupported(f"random_bits of {bits} bits")

    def get(indices):
        key = keys.first.get(indices[:rank]), keys.second.get(indices[:rank])
        high, low = threefry(emitter, key, counter(emitter, linear(emitter, shape, indices[rank:])))
        if bits == 32:
            return emitter.b.xor(high, low)
        high, low = (emitter.b.zext(word, emitter.vector("uint64")) for word in (high, low))
        return emitter.b.or_(emitter.b.shl(high, emitter.constant(32, "uint64")), low)

    return [Array(equation.outvars[0].aval.shape, f"uint{bits}", get)]


def random_unwrap(emitter: Emitter, equation, arrays: list) -> list:
    """The words of keys along a new last axis."""
    (keys,) = arrays
    shape, rank = equation.outvars[0].aval.shape, len(keys.first.shape)
    front = (0,) * rank
    parts = [(reshaped(emitter, part, (*part.shape, 1)), (*front, k)) for k, part in enumerate(keys)]
    return [pieces(emitter, shape, WORD, parts)]


def random_wrap(emitter: Emitter, equation, arrays: list) -> list:
    """Keys from words."""
    (words,), shape = arrays, equation.outvars[0].aval.shape
    first, second = (view(words, shape, lambda indices, k=k: (*indices, k)) for k in range(2))
    return [Keys(first, second)]


KEY_RULES = {
    "random_fold_in": random_fold_in,
    "random_split": random_split,
    "random_bits": random_bits,
    "random_unwrap": random_unwrap,
    "random_wrap": random_wrap,
}
"""Rules of primitives that read or make keys."""
