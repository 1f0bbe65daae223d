"""Tasks in time: a shift register, and sequences that two letters determine."""

import itertools

import numpy as np

from bpjax.tasks.boolean import Levels, check_levels, in_levels
from bpjax.tasks.task import Task, check_fits
from bpjax.util.call_text import shown
from bpjax.util.checks import check_count

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CODES = ("12", "23", "31", "21", "13")


def shift_register(
    bits: int, steps: int | None = None, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None
) -> Task:
    """The states of a shift register: at every step each bit moves to the next place, the last to the first.

    x (2ⁿ, n) are all states at time 0, row k is k in binary; the target (2ⁿ, T, n) has the states at times 1 … T. A
    recurrent network of n units learns it from the states (PDP chapter 8, n = 3 and 5).

    Args:
        bits: n ≥ 2.
        steps: T ≥ 1; None for n, after which the first state returns.
        levels: (false, true) in the examples.
        target_levels: (false, true) in the targets; None for `levels`.

    Raises:
        ValueError: a size is not such an integer, the examples do not fit in memory, or the levels are not two finite
            numbers, lower first.
    """
    bits = check_count("shift_register", "bits", bits, least=2)
    steps = bits if steps is None else check_count("shift_register", "steps", steps)
    levels, target_levels = check_levels("shift_register", levels, target_levels)
    what = f"2^{bits} examples of {steps} steps and {bits} bits"
    check_fits("shift_register", what, lambda: 2**bits * bits * (steps + 1), log2=bits)
    states = np.arange(2**bits)[:, None] >> np.arange(bits)[None, ::-1] & 1
    targets = np.stack([np.roll(states, step, axis=1) for step in range(1, steps + 1)], axis=1)

    def present(key=None):
        return in_levels(states, levels), in_levels(targets, target_levels)

    return Task(f"shift_register-{bits}-{steps}", (bits,), (steps, bits), present, (bits,))


def letter_sequences(
    codes: tuple[str, ...] = CODES, levels: Levels = (0.0, 1.0), target_levels: Levels | None = None
) -> Task:
    """Complete a sequence of which two letters are given: AA is followed by 1212, AB by 1223 (PDP chapter 8).

    Each letter stands for a string of digits. x (N, T, letters) has one letter on at the first two times and nothing
    later; the target (N, T − 2, digits) has one digit on at each of the later times: those of the first letter, then
    those of the second. All pairs of letters are examples: 25 of 6 steps for the 5 letters of the chapter, whose
    network is 5-30-3. The chapter's own digits are not known to us: any distinct codes make the same task.

    Args:
        codes: the digits of the letters A, B, …: strings of equal length with the digits 1 … 9.
        levels: (off, on) in the examples.
        target_levels: (off, on) in the targets; None for `levels`.

    Raises:
        ValueError: `codes` are not such strings, or fewer than 2 or more than 26; the levels are not two finite
            numbers, lower first.
    """
    codes = _check_codes(codes)
    levels, target_levels = check_levels("letter_sequences", levels, target_levels)
    pairs = list(itertools.product(range(len(codes)), repeat=2))
    letters, digits = np.eye(len(codes)), np.eye(max(int(digit) for code in codes for digit in code))
    length = 2 * len(codes[0])
    x = np.zeros((len(pairs), 2 + length, len(codes)))
    x[:, :2] = [[letters[first], letters[second]] for first, second in pairs]
    targets = np.array([[digits[int(digit) - 1] for digit in codes[a] + codes[b]] for a, b in pairs])

    def present(key=None):
        return in_levels(x, levels), in_levels(targets, target_levels)

    return Task(f"letter_sequences-{len(codes)}", x.shape[1:], targets.shape[1:], present, (30,))


def _check_codes(codes) -> tuple[str, ...]:
    """Codes of letters, or a `ValueError`."""
    fits = (
        isinstance(codes, tuple | list)
        and 2 <= len(codes) <= len(LETTERS)
        and all(isinstance(code, str) and code and set(code) <= set("123456789") for code in codes)
        and len({len(code) for code in codes}) == 1
        and len(codes[0]) <= 1000
    )
    if not fits:
        raise ValueError(
            f"`letter_sequences` expected `codes` to be 2 to 26 strings of the same number of digits 1 … 9, like "
            f"{CODES}, got {shown(codes)}."
        )
    return tuple(codes)
