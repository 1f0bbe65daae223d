"""T and C in any rotation and place: what does one shared 3 × 3 receptive field detect?

PDP, chapter 8, pages 348 ff. All hidden units have the same nine weights and bias, a convolution with one filter, and
all act on the output with one weight. The eight letters are shown in one place; the answer in all others is then the
same. The chapter names detectors of compactness, of bars, and of a centre against its surround.
"""

from collections import Counter

import numpy as np

import bpjax as bp
from bpjax.results import plots
from experiments.common.findings import Finding, finding, share
from experiments.internal_representations.pieces import total
from experiments.internal_representations.problem import PDP, Problem, Sweeps
from experiments.internal_representations.trainings import Setting, train

LIMIT, SIZE, RADIUS = 6000, 7, 0.5
COMPACTNESS, BAR, CENTRE = "compactness", "bar", "centre and surround"
"""The families that the chapter names."""
CORNERS, MIXED = "corners and edges", "mixed"
FAMILIES = (COMPACTNESS, BAR, CENTRE, CORNERS, MIXED)
SETTING = "one filter"


def network(radius: float = RADIUS) -> bp.Layer:
    """One filter at every position, the sum of its units, one output.

    Args:
        radius: weights and biases are drawn uniformly from ±radius.
    """
    init = bp.uniform(radius)
    shared = bp.conv(1, (3, 3), padding="VALID", weights=init, biases=init)
    return bp.chain(shared, bp.sigmoid, total(), bp.dense(1, weights=init, biases=init), bp.sigmoid)


def run(config, key, say) -> Sweeps:
    """Train from many initial weights of two sizes."""
    setting = Setting(
        SETTING,
        network(),
        bp.tasks.t_c(SIZE),
        rates=(0.05,),
        scales=(1.0, 2.0),
        epochs=LIMIT,
        stop=bp.outputs_within(0.1),
        layout="lanes",
    )
    return {SETTING: train(setting, config.starts(60, quick=6), key, say)}


def templates() -> dict[str, np.ndarray]:
    """{family: (n, 3, 3)} filters of length 1; those of all but the first family have mean 0."""
    lines = [*np.eye(3)[:, :, None] * np.ones(3), *np.eye(3)[:, None, :] * np.ones((3, 1)), np.eye(3), np.eye(3)[::-1]]
    centre = np.zeros((3, 3))
    centre[1, 1] = 1
    corners = np.array([[1, -1, 1], [-1, 0, -1], [1, -1, 1.0]])
    families = {
        COMPACTNESS: np.ones((1, 3, 3)), BAR: np.array(lines) - 1 / 3, CENTRE: centre[None] - 1 / 9,
        CORNERS: corners[None],
    }  # fmt: skip
    return {name: t / np.linalg.norm(t, axis=(1, 2), keepdims=True) for name, t in families.items()}


def family_of(w: np.ndarray) -> tuple[str, float]:
    """The family of a filter (3, 3), and the share of its sum of squares that the family's best template explains.

    A filter of which no template explains half is "mixed".
    """
    scores = {name: float(np.max(np.sum(t * w, axis=(1, 2)) ** 2) / np.sum(w**2)) for name, t in templates().items()}
    best = max(scores, key=scores.__getitem__)
    return (best, scores[best]) if scores[best] >= 0.5 else (MIXED, scores[best])


def solved_filters(sweep) -> np.ndarray:
    """The filters (n, 3, 3) of all solved runs."""
    return sweep.w1.values[sweep.solved.values][..., 0, 0]


def at_all_places(filters, biases, weights, out_biases) -> np.ndarray:
    """Outputs (runs, 8, places) of networks for the letters at all places of a larger image.

    The larger image has more windows without a letter; each adds w₂ σ(b₁) to the net input of the output, which is
    subtracted from its bias.

    Args:
        filters: (runs, 3, 3).
        biases: (runs,) b₁ of the filters.
        weights: (runs,) w₂ of the output.
        out_biases: (runs,) b₂ of the output.
    """
    size = SIZE + 2
    images = np.asarray(bp.tasks.t_c(size, everywhere=True).present()[0])[..., 0]
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2)).reshape(len(images), -1, 9)
    outputs = []
    for w1, b1, w2, b2 in zip(filters, biases, weights, out_biases, strict=True):
        units = 1 / (1 + np.exp(-(windows @ w1.reshape(9).astype(float) + b1)))
        blank = ((size - 2) ** 2 - (SIZE - 2) ** 2) / (1 + np.exp(-b1.astype(float)))
        outputs.append(1 / (1 + np.exp(-(w2 * (units.sum(axis=1) - blank) + b2))))
    return np.reshape(outputs, (-1, 8, len(images) // 8))


def largest_difference(sweep) -> float:
    """How much the output for a letter differs between places, the most of all solved runs."""
    solved = sweep.solved.values
    b1, w2, b2 = (sweep[name].values[solved].ravel().astype(float) for name in ("b1", "w2", "b2"))
    outputs = at_all_places(solved_filters(sweep), b1, w2, b2)
    return float(np.ptp(outputs, axis=-1).max(initial=0))


def findings(sweeps: Sweeps) -> list[Finding]:
    """Shares solved, presentations, families of detectors, and the same answer at all places."""
    sweep, rows = sweeps[SETTING], []
    for i, scale in enumerate(sweep.scale.values):
        solved, epochs = sweep.solved.values[0, i], sweep.epochs.values[0, i]
        topic = f"T-C, one 3 × 3 filter, η {sweep.learning_rate.values[0]:g}, start ±{RADIUS * scale:g}"
        rows.append(share(topic, f"solved in {LIMIT:,} sweeps", int(solved.sum()), len(solved)))
        if solved.sum() > 1:
            low, middle, high = np.quantile(epochs[solved], [0.025, 0.5, 0.975])
            agrees = bool(low <= 10_000 and high >= 5_000)
            rows.append(Finding(
                topic, "presentations of each letter", "5,000 to 10,000", f"median {middle:,.0f}",
                f"{low:,.0f} to {high:,.0f}", f"95 % of {solved.sum()} runs", agrees, PDP,
                "" if agrees else "the learning rate of the chapter is not known to us.",
            ))  # fmt: skip
    families = Counter(family_of(w)[0] for w in solved_filters(sweep))
    topic, n = "T-C, detectors in the solved networks", int(sweep.solved.sum())
    for name in FAMILIES:
        found = "found" if name in (COMPACTNESS, BAR, CENTRE) else ""
        row = share(topic, name, families[name], n)
        missing = (
            "no filter in which the template explains half of Σ w²; the weights of the chapter's are not known to us."
        )
        note = missing if found and not families[name] else ""
        agrees = families[name] > 0 if found else None
        rows.append(row._replace(published=found, agrees=agrees, source=found and PDP, note=note))
    what, sure = "largest difference of an output between nine places", f"{n} runs, float64"
    rows.append(
        finding(topic, what, 0.0, largest_difference(sweep), 1e-12, digits=2, source="closed form", certainty=sure)
    )
    return rows


def draw(sweeps: Sweeps, figure) -> None:
    """The clearest filter of every family."""
    sweep = sweeps[SETTING]
    filters = solved_filters(sweep)
    judged = [family_of(w) for w in filters]
    names = [name for name in FAMILIES if any(family == name for family, _ in judged)]
    figure.suptitle(
        "T or C: the shared 3 × 3 filter that was learnt, the clearest of each family (blue filled +, red hollow −)",
        fontsize=10,
    )
    if not names:
        return
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        own = [i for i, (family, _) in enumerate(judged) if family == name]
        plots.hinton(axis, filters[max(own, key=lambda i: judged[i][1])])
        axis.set_title(f"{name}: {len(own)} of {len(filters)}", fontsize=9)


T_C = Problem("T-C", run, findings, draw, "detectors", 2.4)
