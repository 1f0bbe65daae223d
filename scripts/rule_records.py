"""What the pages of the learning rules show of a stored run of `experiments.learning_rules`, and its curves."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from bpjax.rules.registry import RULES
from bpjax.util.files import slug, write_file
from scripts.api_source import ROOT

RECORDS = ROOT / "docs" / "rule_records.json"
SAME_AS_BACKPROP = "`jax.grad` computes the same as `backprop`."
MEASURES = {"digits": "accuracy", "linear": "minus the normalised error", "XOR": "minus the largest error"}
"""The problems of the experiment in the order in which a page prefers them, and what is measured on each."""


def rounded(values) -> list[float]:
    """Four digits, which is what a figure shows."""
    return [float(f"{value:.4g}") for value in values]


def problem_record(folder: Path, problem: str, rule: str, summaries) -> dict[str, Any] | None:
    """The measure over learning rates of one rule on one problem, or None if it was left out."""
    import xarray

    store = folder / slug(problem) / f"{slug(rule)}.zarr"
    if not store.exists():
        return None
    test = xarray.open_zarr(store, consolidated=False).test.transpose("learning_rate", "start").values
    row = next(row for row in summaries if row["problem"] == problem and row["rule"] == rule)
    return {
        "measure": MEASURES[problem],
        "rates": rounded(xarray.open_zarr(store, consolidated=False).learning_rate.values),
        "lowest": rounded(np.nan_to_num(test, nan=-1.0).min(axis=1)),
        "median": rounded(np.median(np.nan_to_num(test, nan=-1.0), axis=1)),
        "highest": rounded(np.nan_to_num(test, nan=-1.0).max(axis=1)),
        "starts": test.shape[1],
        "best_rate": float(row["rate"]),
        **{name: float(row[name]) for name in ("mean", "low", "high")},
    }


def of_receipt(text: str) -> dict[str, str]:
    """What a page shows of a receipt: all of it, and its last line, the verdict."""
    return {"receipt": text, "verdict": text.strip().splitlines()[-1]}


def write_records(records: dict[str, Any]) -> None:
    """Write all records, rules in the order of the registry."""
    rules = {name: records["rules"][name] for name in RULES if name in records["rules"]}
    write_file(RECORDS, (json.dumps(records | {"rules": rules}, indent=1, ensure_ascii=False) + "\n").encode())


def record(folder: Path, command: str, timed: bool) -> None:
    """Store what the pages show of a run of the experiment; receipts of other rules stay.

    Args:
        folder: the result of the experiment.
        command: that ran it.
        timed: whether the times of a step are stored; those of a busy machine mean nothing.
    """
    import csv

    with (folder / "learning_rules.csv").open() as file:
        summaries = list(csv.DictReader(file))
    written = json.loads((folder / "record.json").read_text())
    shown = "receipt", "verdict", "cost"
    old = read_records()["rules"]
    rules = {name: {key: r[key] for key in shown if key in r} for name, r in old.items()}
    for name, receipt in written["receipts"].items():
        problems = {p: problem_record(folder, p, name, summaries) for p in MEASURES}
        found = {"problems": {p: found for p, found in problems.items() if found}}
        rules[name] = rules.get(name, {}) | of_receipt(receipt) | found
        if timed and name in written["costs"]:
            rules[name]["cost"] = round(written["costs"][name], 2)
    for problem, reasons in written["left_out"].items():
        for name, why in reasons.items():
            rules.setdefault(name, {}).setdefault("left_out", {})[problem] = why
    rules["autodiff"]["left_out"] = dict.fromkeys(MEASURES, SAME_AS_BACKPROP)
    device = f"{written['device']['platform'].upper()}s"
    made = {"command": command, "jax": written["versions"]["jax"], "device": device}
    write_records(made | {"rules": rules})


def record_receipts() -> None:
    """Store the receipts of all rules of the registry that have none, as the experiment makes them."""
    from experiments.learning_rules.experiment import receipts_of

    records = read_records()
    missing = {name: case for name, case in RULES.items() if "receipt" not in records["rules"].get(name, {})}
    for name, receipt in receipts_of(missing, 0, print).items():
        records["rules"][name] = records["rules"].get(name, {}) | of_receipt(str(receipt))
    write_records(records)


def read_records() -> dict[str, Any]:
    """All records."""
    return json.loads(RECORDS.read_text())


def curve_svg(rule: str, problem: str, records: dict[str, Any]) -> str:
    """The measure over learning rate, the range of the starts shaded, beside backprop in grey."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    curve = records["rules"][rule]["problems"][problem]
    settings: dict[Any, Any] = {"svg.hashsalt": "bpjax", "svg.fonttype": "none", "font.size": 9}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(5, 2.6), layout="constrained")
        backprop = records["rules"].get("backprop", {}).get("problems", {}).get(problem)
        for found, colour, name in ((backprop, "0.6", "backprop"), (curve, "#0072b2", rule)):
            if found and (name == rule or rule != "backprop"):
                axes.fill_between(found["rates"], found["lowest"], found["highest"], color=colour, alpha=0.25, lw=0)
                axes.plot(found["rates"], found["median"], color=colour, label=name, marker="o", ms=3)
        axes.set(xscale="log", xlabel="learning rate", ylabel=f"{curve['measure']}, {problem}")
        axes.set_ylim((0, 1) if problem == "digits" else (-1.5, 0.05))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    return text.getvalue()
