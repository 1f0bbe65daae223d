"""What identifies a sweep: what is computed, in which layout, by which versions; and in what two sweeps differ.

Axes are no part of it, except for their names and types: a run depends on its own coordinates and the key alone, so
that a grid may grow. A config and a receipt are recorded, and identify nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import jax
import numpy as np

from bpjax.results.record import environment
from bpjax.sweeps.computation import Computation
from bpjax.sweeps.plan import Plan, dtype_of
from bpjax.sweeps.workers import Job
from bpjax.util.fingerprint import Canonical, array_fingerprint, fingerprint, type_of

ROOM = str(Path(__file__).parent.parent).replace("\\", "/") + "/"
WORDS = {
    "losses/": "the loss", "layers/": "the network", "networks/": "the network", "optimizers/": "the optimizer",
    "rules/": "the rule", "second_order/": "the rule", "training/stops.py": "the stops", "tasks/": "the task",
    "training/": "the training",
}  # fmt: skip
"""What a file of bpjax contributes to a computation."""
LEAVES = {
    ".limit": "the number of epochs", ".watches": "the stops", ".state.params": "the initial weights",
    ".state.optimizer": "the optimizer", ".state.rule": "the rule",
}  # fmt: skip
"""What a part of the start of `bp.trial` is."""
EXPLANATIONS = ("parts", "start", "data")
"""Entries that only explain a difference."""
SHORT = 12
"""Digits of a fingerprint that only explains a difference."""


def identity_of(job: Job, explained: bool) -> dict:
    """What two sessions must have in common to write into one store, as data for JSON.

    Args:
        job: the sweep.
        explained: whether to add the fingerprints of the parts of the computation, which explain a difference.
    """
    here = environment()
    computation, points, key, curves, layout = job.computation, job.points, job.key, job.curve_epochs, job.layout
    return {
        "computation": whole_fingerprint(computation, job.constants),
        **(computation_parts(computation, job.constants) if explained else {}),
        "stops": list(computation.reasons),
        "axes": axes_identity(points),
        "key": [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()],
        "curves": list(curves),
        "layout": layout._asdict(),
        "versions": {name: here["versions"][name] for name in ("jax", "jaxlib")} | layout.compiler,
        "precision": here["precision"],
        "platform": here["device"]["platform"],
    }


def axes_identity(points: Plan) -> dict:
    """Dimension, type and, for drawn axes, the range of every hyperparameter."""
    return {
        name: [dim, str(dtype_of(values)), *points.drawn.get(name, [])] for name, (dim, values) in points.coords.items()
    }


def computation_parts(computation: Computation, constants: tuple) -> dict:
    """The fingerprints of the parts of a computation: by source, by array of the start, and of its data."""
    prints = {v: f"c{array_fingerprint(c)}" for v, c in zip(computation.constants, constants, strict=True)}
    values = dict(zip(computation.constants, constants, strict=True))
    steps, arrays = {}, {}
    for step in computation.steps:
        steps.setdefault(place_of(step.code), []).append(step.shape)
    for part in (computation.epoch, computation.outcome, computation.watch):
        for equation in part.equations:
            arrays |= {a: prints[a] for a in equation.invars if not hasattr(a, "val") and a in prints}
    return {
        "parts": {place: fingerprint(texts)[:SHORT] for place, texts in sorted(steps.items())},
        "start": dict(start_leaves(computation, prints, values)),
        "data": {
            f"an array {type_of(v)}, number {k}": text[1 : 1 + SHORT] for k, (v, text) in enumerate(arrays.items())
        },
    }


def whole_fingerprint(computation: Computation, constants: tuple) -> str:
    """The fingerprint of a computation with its constants."""
    return fingerprint([computation.structure, *map(array_fingerprint, constants)])


def start_leaves(computation: Computation, prints: dict, values: dict) -> Iterator[tuple[str, str]]:
    """(name, its value or a fingerprint) of each array of a run before its first epoch."""
    start = computation.start
    inputs, jaxpr = computation.input_names(), computation.jaxpr
    shapes = jax.tree.leaves_with_path(computation.shapes["start"])
    for (path, _), atom in zip(shapes, start.outputs, strict=True):
        name = jax.tree_util.keystr(path)
        constant = getattr(atom, "val", values.get(atom) if not hasattr(atom, "val") else None)
        if constant is not None and np.size(constant) == 1 and not hasattr(constant, "_base_array"):
            yield name, str(np.asarray(constant).reshape(())[()])
            continue
        writer = Canonical(inputs | prints)
        texts = [step.text for step in writer.steps(jaxpr, wanted=(atom,))]
        yield name, fingerprint([*texts, writer.name_of(atom)])[:SHORT]


def place_of(code: CodeType | None) -> str:
    """What a function contributes to a computation: "the loss", or its name and file where it is the user's."""
    if code is None:
        return "the computation"
    file = code.co_filename.replace("\\", "/")
    if "/optax/" in file:
        return "the optimizer"
    if not file.startswith(ROOM):
        return f"`{code.co_name}` in {Path(file).name}"
    within = file.removeprefix(ROOM)
    return next((word for start, word in WORDS.items() if within.startswith(start)), "the training")


def differences(stored: dict, new: dict) -> list[str]:
    """In what two identities differ, one text each, the likely causes first."""
    stored, new = json.loads(json.dumps(stored)), json.loads(json.dumps(new))
    found = []
    for package in new["versions"]:
        there, here = stored["versions"].get(package), new["versions"][package]
        if there != here:
            found.append(f"{ {'jax': 'JAX'}.get(package, package) } {there} there, {here} here")
    for name, label in (("precision", "precision"), ("platform", "device"), ("key", "key"), ("curves", "curves")):
        if stored[name] != new[name]:
            found.append(f"{label}: {brief(stored[name])} there, {brief(new[name])} here")
    found += [
        f"the axis `{name}`: {brief(stored['axes'].get(name))} there, {brief(new['axes'].get(name))} here"
        for name in sorted({*stored["axes"], *new["axes"]})
        if stored["axes"].get(name) != new["axes"].get(name)
    ]
    if stored["computation"] != new["computation"] and stored["versions"] == new["versions"]:
        found += computation_differences(stored, new)
    elif stored["layout"] != new["layout"]:
        found.append(f"layout: {brief(stored['layout'])} there, {brief(new['layout'])} here")
    return found


def computation_differences(stored: dict, new: dict) -> list[str]:
    """In what two computations differ, as well as can be told."""
    found = {}
    for name in sorted({*stored["start"], *new["start"]}):
        there, here = stored["start"].get(name), new["start"].get(name)
        if there != here:
            word = next((word for leaf, word in LEAVES.items() if name.startswith(leaf)), f"the start, `run{name}`")
            is_number = there and here and len(there) < SHORT > len(here)
            found[f"{word}, {there} there, {here} here" if is_number else word] = None
    if stored["stops"] != new["stops"]:
        found["the stops"] = None
    for name in sorted({*stored["parts"], *new["parts"]}):
        if stored["parts"].get(name) != new["parts"].get(name):
            found[name] = None
    if list(stored["data"].values()) != list(new["data"].values()):
        changed = [name for name in new["data"] if stored["data"].get(name) != new["data"][name]]
        found[f"the data ({', '.join(changed[:2]) or 'fewer arrays'})"] = None
    return [f"the computation: {name}" for name in found] or ["the computation"]


def brief(value) -> str:
    """A value in at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
