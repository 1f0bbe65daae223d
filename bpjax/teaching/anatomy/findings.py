"""What is remarkable about a batch, in sentences."""

from collections.abc import Sequence

import numpy as np

from bpjax.analysis.units import unit_sentences

SHOWN = 3
"""Weights that examples pull apart, in sentences."""


def findings_of(anatomy) -> tuple[str, ...]:
    """Sentences: units, then examples, then weights."""
    sentences = []
    for place, states in zip(anatomy.activations, anatomy.states, strict=True):
        sentences += unit_sentences(place.number, states)
    sentences += _examples(anatomy)
    sentences += [_opposed(anatomy, k) for k in range(min(SHOWN, len(anatomy.opposed)))]
    return tuple(sentences)


def _examples(anatomy) -> list[str]:
    sentences = []
    count = len(anatomy.error)
    without = np.flatnonzero(anatomy.gradient_norm == 0)
    if len(without):
        verb = "changes" if len(without) == 1 else "change"
        sentences.append(f"{examples_in_words(without, count)} {verb} no weight: the gradient is 0")
    with np.errstate(invalid="ignore"):
        against = np.flatnonzero(anatomy.angle > 90)
    if len(against):
        largest = f"{float(anatomy.angle[against].max()):.0f}° from that of the batch"
        who = examples_in_words(against, count)
        sentences.append(
            f"{who} pulls against the batch: its gradient is {largest}, so a step that lowers the error of the batch "
            "raises that of the example"
            if len(against) == 1
            else f"{who} pull against the batch: their gradients are up to {largest}, so a step that lowers the error "
            "of the batch raises theirs"
        )
    total = float(anatomy.error.sum())
    worst = int(np.argmax(anatomy.error))
    if count > 2 and total > 0 and anatomy.error[worst] >= 0.5 * total:
        sentences.append(f"example {worst + 1} has {100 * anatomy.error[worst] / total:.0f} % of the error")
    return sentences


def _opposed(anatomy, k: int) -> str:
    pulls, count = anatomy.pulls[:, k], len(anatomy.error)
    up, down = np.flatnonzero(pulls > 0), np.flatnonzero(pulls < 0)
    first, second = examples_in_words(up, count), examples_in_words(down, count)
    verb = "pulls" if len(up) == 1 else "pull"
    share = percent(anatomy.cancelled[k])
    return f"{first} {verb} {anatomy.opposed[k]} up, {second} down: {share} of the pull cancels"


def percent(share: float) -> str:
    """97 %; a share below 1 is never 100 %."""
    return "> 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def examples_in_words(places: Sequence[int] | np.ndarray, count: int) -> str:
    """Such as "example 3", "examples 1, 2 and 4", "61 of 200 examples"; `places` from 0."""
    if len(places) == count and count > 1:
        return f"all {count} examples"
    if len(places) > 6:
        return f"{len(places)} of {count} examples"
    names = [str(int(place) + 1) for place in places]
    return f"example {names[0]}" if len(names) == 1 else f"examples {', '.join(names[:-1])} and {names[-1]}"
