"""What every derivative obeys, whatever the function: checked without knowing the truth."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.gradcheck.subject import Subject

LOOSE = 256
"""Unit roundoffs, relative to the largest entry, by which two evaluations of the same gradient may differ."""

FACTOR = 64.0
"""A cotangent so many times as large is used to see whether a backward pass clips or saturates."""


class Law(NamedTuple):
    """A law that a gradient was held against."""

    name: str
    holds: bool
    text: str  # one sentence with the number
    leaf: int | None = None  # of `gap`
    gap: float = np.inf  # the largest difference, for a cotangent of the size of those given


class Computed(NamedTuple):
    """The gradient under test, and the laws it was held against."""

    gradients: list[list]  # by cotangent and leaf; None for a leaf without a gradient; empty where it raises
    laws: list[Law]


def compute_and_check_laws(subject: Subject, cotangents: list[list[np.ndarray]], rounding: float) -> Computed:
    """Evaluate the gradient under test for every cotangent, and hold it against the laws.

    Args:
        subject: the function and its gradient.
        cotangents: of its results.
        rounding: the unit roundoff of the least precise dtype in the function.
    """
    arrays = subject.arrays
    given = [[jnp.asarray(c) for c in row] for row in cotangents]
    try:
        eager = subject.pull_back(arrays, given[0])
    except Exception as error:  # noqa: BLE001  (the user's rule, or JAX about it)
        return _without_reverse(subject, given, error)
    laws = _shapes(subject, eager)
    if laws:
        return Computed([eager], laws)
    again = subject.pull_back(arrays, given[0])
    laws.append(_same_bits(subject, eager, again))
    others = _map_jitted(subject, [*given, *_combined(given)]) if subject.by_rule else None
    if others is not None:
        laws += [
            _compare(subject, "jit", eager, others[0], rounding, "compiled by `jit` the gradient is another"),
            _linear(subject, others, rounding),
        ]
        gradients = [eager, *others[1 : len(given)]]
    else:
        gradients = [eager] + [subject.pull_back(arrays, row) for row in given[1:]]
    laws += _vmap(subject, given, eager, rounding)
    if subject.by_rule:
        laws += [*_result(subject, rounding), *_forward_mode(subject, given, gradients, rounding)]
    return Computed(gradients, laws)


def _without_reverse(subject: Subject, given, error: Exception) -> Computed:
    """The gradient by forward mode, where only that exists; otherwise the failure is the finding."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip("- ")] or [""]
    sentence = f"{type(error).__name__}: {lines[-1] if 'Traceback (' in lines[0] else lines[0]}"
    count = sum(leaf.value.size for leaf in subject.leaves)
    if subject.by_rule and count <= 256 and not any(jnp.iscomplexobj(a) for a in subject.arrays):
        try:
            gradients = _by_forward_mode(subject, given)
        except Exception:  # noqa: BLE001  (no forward mode either)
            pass
        else:
            law = Law("reverse mode", True, f"reverse mode raises {sentence}: forward mode was checked instead")
            return Computed(gradients, [law])
    return Computed([], [Law("reverse mode", False, f"the gradient raises {sentence}")])


def _by_forward_mode(subject: Subject, given) -> list[list]:
    arrays = subject.arrays
    columns = []
    for k, array in enumerate(arrays):
        column = []
        for position in range(array.size):
            unit = jnp.zeros(array.size, array.dtype).at[position].set(1).reshape(array.shape)
            tangents = [unit if j == k else jnp.zeros_like(a) for j, a in enumerate(arrays)]
            column.append(subject.push_forward(arrays, tangents))
        columns.append(column)
    return [
        [
            np.array([float(_inner(row, tangent)) for tangent in column]).reshape(a.shape)
            for a, column in zip(arrays, columns, strict=True)
        ]
        for row in given
    ]


def _inner(cotangents: Sequence, tangents: Sequence) -> np.ndarray:
    """Re Σ c · t, in float64: JAX's pairing of cotangents and tangents, without a conjugate."""
    total = 0.0
    for c, t in zip(cotangents, tangents, strict=True):
        if c is not None and getattr(t, "dtype", None) != jax.dtypes.float0:
            kind = np.complex128 if jnp.iscomplexobj(c) or jnp.iscomplexobj(t) else np.float64
            total += np.real(np.sum(np.asarray(c).astype(kind) * np.asarray(t).astype(kind)))
    return np.asarray(total)


def _magnitude(cotangents: Sequence, tangents: Sequence) -> float:
    """Σ |c · t|."""
    wide = [
        np.sum(np.abs(np.asarray(c).astype(np.complex128) * np.asarray(t).astype(np.complex128)))
        for c, t in zip(cotangents, tangents, strict=True)
        if c is not None and getattr(t, "dtype", None) != jax.dtypes.float0
    ]
    return float(sum(wide))


# --- Shapes ----------------------------------------------------------------------------------------------------------


def _shapes(subject: Subject, gradient) -> list[Law]:
    laws = []
    for leaf, found in zip(subject.leaves, gradient, strict=True):
        if found is None:
            continue
        shape = np.shape(found)
        if shape != leaf.value.shape:
            text = f"the gradient by {leaf.name} has shape {shape}, the argument has {leaf.value.shape}"
            laws.append(Law("shape", False, text))
        elif not jnp.issubdtype(np.asarray(found).dtype, jnp.inexact):
            laws.append(Law("dtype", False, f"the gradient by {leaf.name} has dtype {np.asarray(found).dtype}"))
        elif np.iscomplexobj(found) and not np.iscomplexobj(leaf.value):
            text = f"the gradient by {leaf.name} is complex, the argument is real"
            laws.append(Law("dtype", False, text))
        elif subject.by_rule and jnp.finfo(np.asarray(found).dtype).eps > jnp.finfo(leaf.value.dtype).eps:
            text = f"the gradient by {leaf.name} has dtype {np.asarray(found).dtype}, less precise than the argument"
            laws.append(Law("dtype", False, f"{text}, {leaf.value.dtype}"))
    return laws


# --- Repetition, jit, vmap -------------------------------------------------------------------------------------------


def _same_bits(subject: Subject, first, second) -> Law:
    for leaf, a, b in zip(subject.leaves, first, second, strict=True):
        if a is not None and not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True):
            text = f"called twice on the same arguments the gradient by {leaf.name} differs: it is random"
            return Law("deterministic", False, text)
    return Law("deterministic", True, "called twice it gives the same bits")


def _map_jitted(subject: Subject, rows: list[list]) -> list[list] | None:
    """The gradient for several cotangents, by one compiled program; None where it cannot be compiled."""

    def run(arrays, stacked):
        return lax.map(lambda row: subject.pull_back(arrays, row), stacked)

    try:
        stacked = [jnp.stack(column) for column in zip(*rows, strict=True)]
        found = jax.jit(run).lower(subject.arrays, stacked).compile()(subject.arrays, stacked)
    except Exception:  # noqa: BLE001  (host code, or shapes that depend on values)
        return None
    host = [None if column is None else np.asarray(column) for column in found]
    return [[None if column is None else column[k] for column in host] for k in range(len(rows))]


def _vmap(subject: Subject, given, eager, rounding: float) -> list[Law]:
    second = [np.asarray(a) * (1 + 2.0**-8) if a.size else np.asarray(a) for a in subject.arrays]
    second = [jnp.asarray(a, leaf.value.dtype) for a, leaf in zip(second, subject.leaves, strict=True)]
    arrays = [jnp.stack(pair) for pair in zip(subject.arrays, second, strict=True)]
    other = given[1] if len(given) > 1 else given[0]
    cotangents = [jnp.stack(pair) for pair in zip(given[0], other, strict=True)]
    try:
        run = jax.jit(jax.vmap(lambda a, c: subject.pull_back(a, c)))
        both = run.lower(arrays, cotangents).compile()(arrays, cotangents)
        alone = subject.pull_back(second, other)
    except Exception:  # noqa: BLE001  (host code, or a function that has no batching rule)
        return []
    wrong = "under `vmap` the gradient is another"
    laws = []
    for k, expected in enumerate((eager, alone)):
        found = [None if b is None else np.asarray(b)[k] for b in both]
        laws.append(_compare(subject, "vmap", expected, found, rounding, wrong))
    return [next((law for law in laws if not law.holds), laws[0])]


def _compare(subject: Subject, name: str, expected, found, rounding: float, sentence: str) -> Law:
    """Whether two evaluations of the same gradient agree up to rounding."""
    for k, (leaf, a, b) in enumerate(zip(subject.leaves, expected, found, strict=True)):
        if a is None:
            continue
        gap, size = _gap(a, b)
        if gap > LOOSE * rounding * size:
            text = f"{sentence}: by {leaf.name} it differs by {gap / size:.1e} of its largest entry"
            return Law(name, False, text, k, gap)
    return Law(name, True, f"`{name}` does not change it")


def _gap(a, b) -> tuple[float, float]:
    """(largest difference, largest entry) of two arrays, in float64; equal non-finite entries do not differ."""
    a, b = (np.asarray(x).astype(np.complex128 if np.iscomplexobj(x) else np.float64) for x in (a, b))
    if not a.size:
        return 0.0, 1.0
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.array_equal(np.where(finite, 0, a), np.where(finite, 0, b), equal_nan=True):
        return np.inf, 1.0
    gap = float(np.max(np.abs(np.where(finite, a, 0) - np.where(finite, b, 0))))
    return gap, float(np.max(np.abs(np.where(finite, a, 0)))) or 1e-300


# --- Linearity -------------------------------------------------------------------------------------------------------


def _combined(given) -> list[list]:
    """3 c₀ − 2 c₁, and c₀ many times as large."""
    first, second = given[0], given[min(1, len(given) - 1)]
    sums = [(3 * a - 2 * b).astype(a.dtype) for a, b in zip(first, second, strict=True)]
    return [sums, [(FACTOR * a).astype(a.dtype) for a in first]]


def _linear(subject: Subject, gradients: list[list], rounding: float) -> Law:
    """Jᵀ(3 c₀ − 2 c₁) = 3 Jᵀc₀ − 2 Jᵀc₁ and Jᵀ(k c₀) = k Jᵀc₀."""
    *plain, combined, scaled = gradients
    first, second = plain[0], plain[min(1, len(plain) - 1)]
    columns = zip(subject.leaves, first, second, combined, scaled, strict=True)
    for k, (leaf, a, b, both, large) in enumerate(columns):
        if a is None:
            continue
        a, b, both, large = (np.asarray(x).astype(np.complex128) for x in (a, b, both, large))
        for factor, expected, found, size in (
            (5.0, 3 * a - 2 * b, both, 3 * np.abs(a) + 2 * np.abs(b)),
            (FACTOR, FACTOR * a, large, FACTOR * np.abs(a)),
        ):
            if not np.isfinite(expected).all():
                continue
            gap, largest = np.max(np.abs(found - expected), initial=0.0), np.max(size, initial=0.0)
            if not gap <= LOOSE * rounding * largest + 1e-300:
                text = f"it is not linear in the cotangent: by {leaf.name} it differs by {gap / largest:.1e}"
                return Law("linear", False, text, k, float(gap) / factor)
    return Law("linear", True, "it is linear in the cotangent")


def beyond_noise(laws: Sequence[Law], noise: list[list[np.ndarray]] | None, headroom: float) -> list[Law]:
    """The laws, where differences that random rounding errors can cause break none.

    Args:
        laws: judged by the size of the gradient, which may be nothing but rounding errors.
        noise: by cotangent and leaf, how far random rounding errors move each entry.
        headroom: this many times as much is accepted.
    """
    if not noise:
        return list(laws)
    largest = [max(float(np.max(n, initial=0.0)) for n in column) for column in zip(*noise, strict=True)]

    def judged(law: Law) -> Law:
        if law.holds or law.leaf is None or not law.gap <= headroom * largest[law.leaf]:
            return law
        return law._replace(holds=True, text=f"{law.name}: no difference beyond rounding errors")

    return [judged(law) for law in laws]


# --- The result, and forward mode ------------------------------------------------------------------------------------


def _result(subject: Subject, rounding: float) -> list[Law]:
    """The rule computes the function: its result equals that of the function without differentiation."""
    plain = subject.direct(*subject.arrays)
    by_rule = subject.results_by_rule(*subject.arrays)
    for a, b in zip(plain, by_rule, strict=True):
        gap, size = _gap(a, b)
        if np.shape(a) != np.shape(b) or gap > LOOSE * rounding * size:
            text = f"the rule computes another result than the function: it differs by {gap / size:.1e}"
            return [Law("result", False, text)]
    return [Law("result", True, "its result is that of the function")]


def _forward_mode(subject: Subject, given, gradients, rounding: float) -> list[Law]:
    """⟨c, J v⟩ = ⟨Jᵀc, v⟩ where there is a forward mode."""
    rng = np.random.default_rng(2)
    tangents = [jnp.asarray(rng.standard_normal(a.shape), a.dtype) for a in subject.arrays]
    try:
        pushed = subject.push_forward(subject.arrays, tangents)
    except Exception:  # noqa: BLE001  (a custom_vjp has no forward mode)
        return []
    for c, gradient in zip(given, gradients, strict=True):
        left, right = float(_inner(c, pushed)), float(_inner(gradient, tangents))
        size = _magnitude(c, pushed) + _magnitude(gradient, tangents)
        if np.isfinite(left) and np.isfinite(right) and abs(left - right) > LOOSE * rounding * size:
            gap = abs(left - right) / size
            text = f"forward and reverse mode disagree: ⟨c, J v⟩ and ⟨Jᵀc, v⟩ differ by {gap:.1e}"
            return [Law("forward mode", False, text)]
    return [Law("forward mode", True, "forward and reverse mode agree")]
