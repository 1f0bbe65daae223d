"""Which part of a sweep this process computes.

The parts of a sweep are counted from 0: part (2, 16), also written "2/16", is the third of 16 and the last is 15/16.
Without the argument `part` the environment says which:

    BPJAX_PART                the part, such as "2/16"
    SLURM_ARRAY_TASK_ID       of a job array of SLURM: the index is ID − MIN (over STEP), the count is COUNT
    JOB_COMPLETION_INDEX      of an Indexed Job of Kubernetes: the index; the count is BPJAX_PARTS, which the Job sets
                              to its `completions`, as Kubernetes does not say it
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bpjax.util.call_text import shown

WHOLE = "whole"
"""As `part`: the whole sweep in this process, whatever the environment says."""
MOST_PARTS = 10**6


@dataclass(frozen=True)
class Part:
    """One of `count` parts."""

    index: int  # from 0
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def part_of(who: str, part, has_store: bool, environment: Mapping[str, str] = os.environ) -> Part | None:
    """The part of a sweep that this process computes; None for the whole.

    Args:
        who: the function that received it.
        part: (index, count), a text such as "2/16", "whole", or None: what the environment says, if there is a store.
        has_store: whether the sweep is stored.
        environment: of the process.

    Raises:
        ValueError: what is not a part, a part without a store, or an environment that does not say which.
    """
    if isinstance(part, str) and part == WHOLE:
        return None
    if part is not None:
        found = as_part(who, "part", part)
        if not has_store:
            raise ValueError(
                f"`{who}` expected `store` for part {found}: the parts of a sweep meet in one store. Give a folder "
                "that all of them can write."
            )
        return found
    return part_in(who, environment) if has_store else None


def as_part(who: str, what: str, part) -> Part:
    """A pair of integers or a text "index/count" as a part, or a `ValueError`."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", part, re.ASCII) if isinstance(part, str) else None
    pair = list(map(int, match.groups())) if match else part
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2 and all(map(is_integer, pair))
    index, count = map(int, pair) if is_pair else (-1, 0)
    if index < 0 or not 1 <= count <= MOST_PARTS:
        raise ValueError(
            f'`{who}` expected `{what}` to be (index, count) such as (2, 16), or text such as "2/16", with a count '
            f"from 1 to {MOST_PARTS} and an index from 0, got {shown(part)}."
        )
    if index >= count:
        raise ValueError(
            f"`{who}` expected an index of `{what}` from 0 to {count - 1}, as the parts are counted from 0 and the "
            f"last of {count} is {count - 1}/{count}, got {shown(part)}."
        )
    return Part(index, count)


def is_integer(value) -> bool:
    """Whether it is an integer of Python or NumPy, and not a boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def part_in(who: str, environment: Mapping[str, str]) -> Part | None:
    """The part that the environment of a process says, or None."""
    if environment.get("BPJAX_PART", "").strip():
        return None if environment["BPJAX_PART"] == WHOLE else as_part(who, "BPJAX_PART", environment["BPJAX_PART"])
    if "SLURM_ARRAY_TASK_ID" in environment:
        return part_in_array(who, environment)
    if "JOB_COMPLETION_INDEX" in environment:
        if not environment.get("BPJAX_PARTS", "").strip():
            raise ValueError(
                f"`{who}` expected BPJAX_PARTS, the number of parts, beside JOB_COMPLETION_INDEX: set it to the Job's "
                '`completions`, or give `part="whole"` where the Job is about something else.'
            )
        text = f"{environment['JOB_COMPLETION_INDEX']}/{environment['BPJAX_PARTS']}"
        return as_part(who, "JOB_COMPLETION_INDEX/BPJAX_PARTS", text)
    return None


def part_in_array(who: str, environment: Mapping[str, str]) -> Part:
    """The part of a task of a job array of SLURM, or a `ValueError`."""
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX", "STEP")]
    given = [environment.get(name, "") for name in names]
    defaults = ["", "", "0", "", "1"]
    texts = [text or default for text, default in zip(given, defaults, strict=True)]
    texts[3] = texts[3] or texts[0]
    if all(re.fullmatch(r"\d{1,9}", text, re.ASCII) for text in texts):
        task, count, least, most, step = map(int, texts)
        is_even = step > 0 and (not given[3] or (most - least) // step + 1 == count) and (task - least) % step == 0
        if is_even:
            return as_part(who, "SLURM_ARRAY_TASK_ID/COUNT", ((task - least) // step, count))
    raise ValueError(
        f"`{who}` expected a job array without gaps, such as `sbatch --array=0-15`, got "
        f"{', '.join(f'{name}={text}' for name, text in zip(names, given, strict=True) if text)}. Set BPJAX_PART to "
        'the part, such as "2/16", or give `part="whole"` where the array is about something else.'
    )
