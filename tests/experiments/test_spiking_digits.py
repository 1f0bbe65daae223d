"""The experiment on spiking digits at a small size: codes, tables, silent layers, the exact gradient."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.spiking_digits import exact, experiment, networks, tables, training

pytestmark = pytest.mark.thorough


def test_a_brighter_pixel_fires_earlier():
    x = networks.spikes_of(jnp.array([[1.0, 0.5, 0.2, 0.0]]), "latency", 11, None)
    # T − 1 = 10 steps: at 0, 5 and 8; below 0.1 never
    assert [list(np.flatnonzero(x[0, :, pixel])) for pixel in range(4)] == [[0], [5], [8], []]
    rate = networks.spikes_of(jnp.ones((200, 3)), "rate", 20, jax.random.key(0))
    assert abs(float(rate.mean()) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / rate.size)


def test_a_silent_layer_is_named():
    said = training.sentence(np.array([0.02, 0.01, 0.0, 0.0]))
    assert said.startswith("Layer 3 of 4 is silent") and "weights" in said
    assert training.sentence(np.array([0.02, 0.01])) == ""


def test_the_run_its_tables_and_its_files(tmp_path, monkeypatch):
    few = networks.VARIANTS[0], networks.VARIANTS[-1]
    monkeypatch.setattr(experiment, "VARIANTS", few)
    console = Console(file=io.StringIO(), width=80)
    config = experiment.Config(hidden=(12, 8), steps=8, epochs=2, starts=2, depth=4, networks=2, out=tmp_path / "out")
    config.check()
    experiment.show(config, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "fast sigmoid, k = 25" in text and "rates, not latencies" in text and "is silent" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"accuracy.csv", "angles.csv", "silence.csv", "spiking_digits.png", "spiking_digits.svg"} <= names


def test_the_surrogate_of_early_spikes_points_where_the_exact_gradient_does():
    problems = [exact.problem(seed) for seed in range(3)]
    assert max(p.difference for p in problems) < 1e-6
    found = exact.angles(problems)
    by_name = {a.surrogate: a for a in found}
    narrow, wide = by_name["fast sigmoid, k = 25"], by_name["straight-through"]
    assert np.median(narrow.one_layer) > 0.8 > np.median(wide.one_layer) and np.median(narrow.late) < 0
    assert tables.angle_table(found, np.zeros(3)).row_count == len(networks.SURROGATES)
