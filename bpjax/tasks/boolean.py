"""Boolean functions, with every example of their truth table.

`levels` are the values for false and true in the examples, `target_levels` those in the targets: (0, 1), (−½, ½) for
Fahlman's symmetric units, or (0.1, 0.9) for targets that a sigmoid can reach.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from bpjax.tasks.task import Task, check_fits
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_counts, check_function, check_number, check_text, is_concrete

Levels = tuple[float, float]


def truth_table(
    name: str,
    inputs: int,
    function: Callable[[tuple[int, ...]], tuple[int, ...]],
    hidden: tuple[int, ...],
    levels: Levels,
    target_levels: Levels | None,
) -> Task:
    """The task of a Boolean function; row n of its examples is n in binary.

    Args:
        name: of the task.
        inputs: number of input bits.
        function: a tuple of `inputs` bits -> a tuple of bits.
        hidden: widths of the hidden layers in the literature.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: `inputs` is not a positive integer, the table does not fit in memory, or the levels are not two
            finite numbers, lower first.
    """
    check_text("truth_table", "name", name)
    inputs = check_count("truth_table", "inputs", inputs)
    check_function("truth_table", "function", function)
    hidden = check_counts("truth_table", "hidden", hidden, fewest=0)
    rows = lambda table: np.array([function(tuple(row)) for row in table.tolist()])
    return _boolean(name, inputs, rows, hidden, (levels, target_levels))


def _boolean(name: str, inputs: int, function: Callable, hidden: tuple[int, ...], levels) -> Task:
    """The task of a function of the whole table: bits (2ⁿ, n) -> bits (2ⁿ, outputs)."""
    levels, target_levels = check_levels(name, *levels)
    check_fits(name, f"2^{inputs} examples of {inputs} bits", lambda: 2**inputs * (inputs + 1), log2=inputs)
    table = np.stack(
        [np.arange(2**inputs) >> k & 1 for k in range(inputs)[::-1]], axis=1, dtype=np.uint8, casting="unsafe"
    )
    targets = function(table)

    def present(key=None):
        return in_levels(table, levels), in_levels(targets, target_levels)

    return Task(name, (inputs,), targets.shape[1:], present, hidden)


def check_levels(who: str, levels, target_levels=None) -> tuple[Levels, Levels]:
    """The levels of examples and of targets, those of the examples by default, or a `ValueError`."""
    target_levels = levels if target_levels is None else target_levels
    for name, pair in (("levels", levels), ("target_levels", target_levels)):
        if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
            raise ValueError(
                f"`{who}` expected `{name}` to be a pair (false, true) like (0.1, 0.9), got {shown(pair)}."
            )
        low, high = pair
        check_number(who, f"{name}[0]", low)
        check_number(who, f"{name}[1]", high, above=float(low) if is_concrete(low) else -math.inf)
    return tuple(levels), tuple(target_levels)


def in_levels(bits: np.ndarray, levels: Levels):
    """Bits as floats, with 0 and 1 replaced by the two levels."""
    low, high = levels
    return jnp.asarray(low + (high - low) * bits, dtype=jnp.result_type(float))


def xor(levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """Exclusive or: the smallest problem that needs a hidden layer. 4 examples, 2-2-1."""
    return parity(2, levels, target_levels)._replace(name="xor")


def parity(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """Whether an odd number of the bits is on. 2ⁿ examples, n-n-1 (Rumelhart, Hinton & Williams 1986).

    Args:
        bits: n ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: the number of bits is too small, or so large that the examples do not fit in memory; the levels are
            not two finite numbers, lower first.
    """
    bits = check_count("parity", "bits", bits)
    odd = lambda x: x.sum(axis=1, keepdims=True) % 2
    return _boolean(f"parity-{bits}", bits, odd, (bits,), (levels, target_levels))


def symmetry(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """Whether the string reads the same from both ends. 2ⁿ examples, n-2-1 (Nature 1986, n = 6).

    Args:
        bits: n ≥ 2.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: the number of bits is too small, or so large that the examples do not fit in memory; the levels are
            not two finite numbers, lower first.
    """
    bits = check_count("symmetry", "bits", bits, least=2)
    same = lambda x: (x == x[:, ::-1]).all(axis=1, keepdims=True).astype(int)
    return _boolean(f"symmetry-{bits}", bits, same, (2,), (levels, target_levels))


def multiplexer(address_bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The data line that the address selects: a address bits, most significant first, then 2ᵃ data bits.

    6 inputs for a = 2 (Jacobs 1988); the hidden layer has as many units as there are data lines.

    Args:
        address_bits: a ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: the number of bits is too small, or so large that the examples do not fit in memory; the levels are
            not two finite numbers, lower first.
    """
    address_bits = check_count("multiplexer", "address_bits", address_bits, most=16)
    lines = 2**address_bits

    def selected(x):
        address = number(x[:, :address_bits])
        return np.take_along_axis(x, address_bits + address[:, None], axis=1)

    name, inputs = f"multiplexer-{address_bits}", address_bits + lines
    return _boolean(name, inputs, selected, (lines,), (levels, target_levels))


def binary_addition(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The sum of two n-bit numbers, most significant bit first: 2n inputs, n + 1 outputs.

    For n = 2 the 4-3-3 network is the one in which training reliably finds local minima (PDP chapter 8).

    Args:
        bits: n ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: the number of bits is too small, or so large that the examples do not fit in memory; the levels are
            not two finite numbers, lower first.
    """
    bits = check_count("binary_addition", "bits", bits)

    def added(x):
        total = number(x[:, :bits]) + number(x[:, bits:])
        return total[:, None] >> np.arange(bits + 1)[None, ::-1] & 1

    return _boolean(f"binary_addition-{bits}", 2 * bits, added, (bits + 1,), (levels, target_levels))


def number(bits: np.ndarray) -> np.ndarray:
    """The integers (rows,) of bits (rows, n), most significant bit first."""
    return bits @ 2 ** np.arange(bits.shape[1])[::-1]


def negation(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The bits, negated where the flag, the last input, is on: n + 1 inputs, n outputs (PDP, n = 3; 4-6-3).

    Args:
        bits: n ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: the number of bits is too small, or so large that the examples do not fit in memory; the levels are
            not two finite numbers, lower first.
    """
    bits = check_count("negation", "bits", bits)
    negated = lambda x: x[:, :-1] ^ x[:, -1:]
    return _boolean(f"negation-{bits}", bits + 1, negated, (2 * bits,), (levels, target_levels))
