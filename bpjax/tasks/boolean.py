"""Boolean functions, with every example of their truth table.

`levels` are the values for false and true in the examples, `target_levels` those in the targets: (0, 1), (−½, ½) for
Fahlman's symmetric units, or (0.1, 0.9) for targets that a sigmoid can reach.
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from bpjax.tasks.task import Task
from bpjax.util.checks import check_count, check_number

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
    """
    table = np.array(list(itertools.product((0, 1), repeat=inputs)))
    targets = np.array([function(tuple(row)) for row in table.tolist()])

    def present(key=None):
        return in_levels(name, table, levels), in_levels(name, targets, target_levels or levels)

    return Task(name, (inputs,), targets.shape[1:], present, hidden)


def in_levels(who: str, bits: np.ndarray, levels: Levels):
    """Bits as floats, with 0 and 1 replaced by the two levels; `who` names the task in messages."""
    low, high = levels
    check_number(who, "levels[0]", low)
    check_number(who, "levels[1]", high, above=float(low))
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
    """
    bits = check_count("parity", "bits", bits)
    return truth_table(f"parity-{bits}", bits, lambda x: (sum(x) % 2,), (bits,), levels, target_levels)


def symmetry(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """Whether the string reads the same from both ends. 2ⁿ examples, n-2-1 (Nature 1986, n = 6).

    Args:
        bits: n ≥ 2.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.
    """
    bits = check_count("symmetry", "bits", bits, least=2)
    return truth_table(f"symmetry-{bits}", bits, lambda x: (int(x == x[::-1]),), (2,), levels, target_levels)


def multiplexer(address_bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The data line that the address selects: a address bits, most significant first, then 2ᵃ data bits.

    6 inputs for a = 2 (Jacobs 1988); the hidden layer has as many units as there are data lines.

    Args:
        address_bits: a ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.
    """
    address_bits = check_count("multiplexer", "address_bits", address_bits)
    lines = 2**address_bits

    def selected(x):
        address = int("".join(map(str, x[:address_bits])), 2)
        return (x[address_bits + address],)

    return truth_table(f"multiplexer-{address_bits}", address_bits + lines, selected, (lines,), levels, target_levels)


def binary_addition(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The sum of two n-bit numbers, most significant bit first: 2n inputs, n + 1 outputs.

    For n = 2 the 4-3-3 network is the one in which training reliably finds local minima (PDP chapter 8).

    Args:
        bits: n ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.
    """
    bits = check_count("binary_addition", "bits", bits)

    def added(x):
        total = int("".join(map(str, x[:bits])), 2) + int("".join(map(str, x[bits:])), 2)
        return tuple(int(bit) for bit in f"{total:0{bits + 1}b}")

    return truth_table(f"binary_addition-{bits}", 2 * bits, added, (bits + 1,), levels, target_levels)


def negation(bits: int, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None) -> Task:
    """The bits, negated where the flag, the last input, is on: n + 1 inputs, n outputs (PDP, n = 3; 4-6-3).

    Args:
        bits: n ≥ 1.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.
    """
    bits = check_count("negation", "bits", bits)
    return truth_table(
        f"negation-{bits}",
        bits + 1,
        lambda x: tuple(bit ^ x[-1] for bit in x[:-1]),
        (2 * bits,),
        levels,
        target_levels,
    )
