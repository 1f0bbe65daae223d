"""T or C: two letters of five squares each, in any rotation and place."""

import numpy as np

from bpjax.tasks.boolean import Levels, check_levels, in_levels
from bpjax.tasks.task import Task, check_fits
from bpjax.util.checks import check_count, check_flag

T = ((1, 1, 1), (0, 1, 0), (0, 1, 0))
C = ((1, 1, 0), (1, 0, 0), (1, 1, 0))


def t_c(
    size: int = 7,
    margin: int = 2,
    everywhere: bool = False,
    levels: Levels = (0.0, 1.0),
    target_levels: Levels | None = None,
) -> Task:
    """Whether an image shows a T, target 1, or a C, target 0, in each of four rotations (PDP chapter 8).

        ▇▇▇   ▇▇
         ▇    ▇
         ▇    ▇▇

    The examples are images (N, size, size, 1), channels last, the four T before the four C. The T touches 21 windows of
    3 × 3 pixels and the C 20; with `margin` = 2 all these windows lie in the image, so that a network with one shared
    3 × 3 receptive field sees the same at every position.

    Args:
        size: pixels of a side, ≥ 3 + 2 `margin`.
        margin: pixels between the letter's 3 × 3 square and the edge, ≥ 0.
        everywhere: whether the letters stand at all positions within the margin, or at one, in the middle.
        levels: (off, on) in the examples.
        target_levels: (off, on) in the targets; None for `levels`.

    Raises:
        ValueError: `size` or `margin` is not such an integer, the examples do not fit in memory, or the levels are not
            two finite numbers, lower first.
    """
    margin = check_count("t_c", "margin", margin, least=0)
    size = check_count("t_c", "size", size, least=3 + 2 * margin)
    everywhere = check_flag("t_c", "everywhere", everywhere)
    levels, target_levels = check_levels("t_c", levels, target_levels)
    positions = size - 2 - 2 * margin
    count = 8 * positions**2 if everywhere else 8
    check_fits("t_c", f"{count} images of {size} × {size} pixels", lambda: count * size**2)
    corners = range(margin, margin + positions) if everywhere else [(size - 3) // 2]
    letters = [np.rot90(letter, turns) for letter in (T, C) for turns in range(4)]
    images = np.zeros((8, len(corners), len(corners), size, size, 1))
    for i, letter in enumerate(letters):
        for j, top in enumerate(corners):
            for k, left in enumerate(corners):
                images[i, j, k, top : top + 3, left : left + 3, 0] = letter
    images = images.reshape(-1, size, size, 1)
    targets = np.repeat([1, 0], len(images) // 2)[:, None]

    def present(key=None):
        return in_levels(images, levels), in_levels(targets, target_levels)

    return Task(f"t_c-{size}", (size, size, 1), (1,), present, (1,))
