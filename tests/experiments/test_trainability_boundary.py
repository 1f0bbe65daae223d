"""The trainability boundary: descent against jax.grad of the published network, box counts against exact fractals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from experiments.trainability_boundary.conditions import ACTIVATIONS, CONDITIONS, EVERY_STEP, START, Window, problem_of
from experiments.trainability_boundary.control import FAR, control, exact_limit
from experiments.trainability_boundary.control import START as FIRST_WEIGHT
from experiments.trainability_boundary.control import STEPS as CONTROL_STEPS
from experiments.trainability_boundary.dimension import boundary, box_counts, densest, dimension
from experiments.trainability_boundary.experiment import Config, dataset, result_of, run, show
from experiments.trainability_boundary.images import Draw, agreement
from experiments.trainability_boundary.tiles import SIDE, levels_of, write_tiles
from experiments.trainability_boundary.training import CEILING, make_trial

SIGMA = {"tanh": jnp.tanh, "ReLU": jax.nn.relu, "identity": lambda a: a}
ALPHA_0 = {"tanh": np.sqrt(2 / 16), "ReLU": np.sqrt(2 / 16), "identity": np.sqrt(1 / 16)}
BY_NAME = {condition.name: condition for condition in CONDITIONS}


def published_loss(unit, w0, w1, x, y):
    """E of the paper's network, x without its factor."""
    return jnp.mean((SIGMA[unit](ALPHA_0[unit] * x @ w0) @ w1 / 16 - y) ** 2)


def drawn(condition, steps, seed=0):
    """The numbers of `problem_of`, drawn again in its order."""
    draw = np.random.default_rng(seed)
    w0, w1 = draw.standard_normal((16, 16)), draw.standard_normal((16, 1))
    x, y = draw.standard_normal((condition.examples, 16)), draw.standard_normal((condition.examples, 1))
    size = condition.batch_size
    return w0, w1, x, y, None if size is None else draw.integers(0, condition.examples, (steps, size))


@pytest.mark.parametrize("name", BY_NAME)
def test_descent_is_that_of_jax_grad_on_the_published_network(name):
    condition, steps = BY_NAME[name], 3
    right, up = (0.3, 1.0) if condition.offset else (2.0, 1.5)
    trial = make_trial(condition, problem_of(condition, steps, seed=0), steps)(None, right, up)
    run = trial.start
    for _ in range(steps):
        run, _ = trial.program.epoch(run)
    w0, w1, x, y, batches = drawn(condition, steps)
    rates = (10**up if condition.offset else 10**right), 10**up
    if condition.offset == START:
        w0 = w0 + 10**right
    errors = []
    for step in range(steps):
        if condition.offset == EVERY_STEP:
            w0 = w0 + 10**right
        errors.append(published_loss(condition.unit, w0, w1, x, y))
        part = slice(None) if batches is None else batches[step]
        grads = jax.grad(published_loss, (1, 2))(condition.unit, w0, w1, x[part], y[part])
        w0, w1 = w0 - rates[0] * grads[0], w1 - rates[1] * grads[1]
    np.testing.assert_allclose(run.params[0].w, w0, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.params[2].w, w1, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.total, sum(errors) / errors[0], rtol=1e-12)


@pytest.mark.parametrize("unit", ACTIVATIONS)
def test_activations_have_the_derivative_of_their_value(unit):
    layer, a = ACTIVATIONS[unit], jnp.array([[-2.0, -0.3, 0.4, 5.0]])
    y, residuals = layer.forward((), a)
    found = layer.backward((), residuals, jnp.ones_like(a))[1]
    np.testing.assert_allclose(y, SIGMA[unit](a) / 16, rtol=1e-14)
    np.testing.assert_allclose(found, jax.vmap(jax.vmap(jax.grad(SIGMA[unit])))(a) / 16, rtol=1e-12)


def test_the_outcome_is_the_published_measure_of_the_errors():
    steps, ups = 40, np.array([0.0, 2.2, 3.0, 3.9])
    draw = Draw(BY_NAME["tanh"], 2, steps, 0)
    window = Window(3.0, 4.0, 0.0, 1.0)
    assert draw.sweep(window, "float64").converged.all()
    trial = make_trial(BY_NAME["tanh"], problem_of(BY_NAME["tanh"], steps, 0), steps)
    w0, w1, x, y, _ = drawn(BY_NAME["tanh"], steps)
    grad = jax.jit(jax.value_and_grad(lambda w0, w1: published_loss("tanh", w0, w1, x, y), (0, 1)))
    seen = set()
    for up in ups:
        run, weights, errors = trial(None, 3.0, up).start, (w0, w1), []
        program = trial(None, 3.0, up).program
        epoch = jax.jit(program.epoch)
        for _ in range(steps):
            run = epoch(run)[0]
            value, grads = grad(*weights)
            weights = weights[0] - 1e3 * grads[0], weights[1] - 10**up * grads[1]
            errors.append(float(value))
        found = program.outcome(run)
        v = np.nan_to_num(np.array(errors), nan=np.inf) / errors[0]
        v = np.where(v > CEILING, CEILING, v)
        converged = v[-20:].mean() < 1
        assert bool(found["converged"]) == converged
        np.testing.assert_allclose(found["speed"], v.sum() if converged else -(1 / v).sum(), rtol=1e-6)
        seen.add(bool(converged))
    assert seen == {True, False}


def sierpinski(k):
    """Pascal's triangle modulo 2, 2ᵏ × 2ᵏ: of dimension log₂ 3."""
    i = np.arange(2**k)
    return (i[:, None] & i) == 0


def test_box_counts_of_fractals_whose_dimension_is_known():
    sizes, counts = box_counts(sierpinski(7))
    assert counts.tolist() == [3 ** (7 - k) for k in range(len(sizes))] and sizes[-1] == 16
    noise = np.random.default_rng(0).random((257, 257)) < 0.5
    half = np.tile(np.arange(257) < 100, (257, 1))
    assert dimension([half]).value == pytest.approx(1.0, abs=0.01)
    assert dimension([noise]).value == pytest.approx(2.0, abs=0.1)
    assert np.isnan(dimension([np.ones((32, 32), bool)]).value)
    found = dimension([half, noise])
    assert found.low < found.value < found.high


def test_the_boundary_lies_where_neighbours_differ():
    inside = np.zeros((5, 5), bool)
    inside[2, 2] = True
    cells = np.zeros((4, 4), bool)
    cells[1:3, 1:3] = True
    assert (boundary(inside) == cells).all()
    assert boundary(np.array([True, True, False, True])).tolist() == [False, True, True]


def test_the_densest_part_is_that_of_all_parts():
    cells = np.random.default_rng(1).random((20, 20)) < 0.2
    row, column = densest(cells, 6)
    held = cells[row : row + 6, column : column + 6].sum()
    assert held == max(cells[i : i + 6, j : j + 6].sum() for i in range(15) for j in range(15))


def test_the_control_ends_where_the_closed_form_says():
    known = control([0.0, 0.25, 0.5, 4.0], 512)
    rates = 1 + 10**known.excess.values
    for theta in (0.0, 0.25, 0.5):
        (at,) = np.flatnonzero(boundary(known.bounded.sel(theta=theta).values))
        # without a ripple |w| grows by 2η − 1 a step, and has grown to FAR in the last
        slowest = ((FAR / FIRST_WEIGHT) ** (1 / CONTROL_STEPS) + 1) / 2
        limit = slowest if theta == 0 else exact_limit(theta)
        assert rates[at] <= limit <= rates[at + 1]
    assert boundary(known.bounded.sel(theta=4.0).values).sum() > 20


def test_tiles_hold_the_pixels_of_every_level(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (SIDE + 40, SIDE + 40, 3)).astype(np.uint8)
    sizes = write_tiles(tmp_path / "tiles", colours)
    assert sizes == [SIDE + 40, (SIDE + 40) // 2]
    for level, pixels in enumerate(levels_of(colours[::-1])):
        rows = []
        for row in range(-(-len(pixels) // SIDE)):
            line = [tmp_path / "tiles" / str(level) / f"{row}_{c}.png" for c in range(-(-len(pixels) // SIDE))]
            rows.append(np.concatenate([imread(path)[..., :3] for path in line], axis=1))
        assert (np.round(255 * np.concatenate(rows)) == pixels).all()


def test_a_run_is_stored_continues_and_is_read_back(tmp_path, float32, capsys):
    config = Config(
        conditions=("ReLU", "identity"), resolution=16, zooms=1, factor=4, steps=20, rates=64, store=tmp_path / "sweeps"
    )
    config.check()
    result = run(config, Console())
    again = run(config, Console())
    stored = result_of(dataset(result), ["ReLU", "identity"])
    for name, images in result.images.items():
        assert [image.dtype for image in images] == ["float32", "float64"]
        assert images[1].window.width == pytest.approx(images[0].window.width * 4 / 15)
        for one, other, read in zip(images, again.images[name], stored.images[name], strict=True):
            assert (one.converged == other.converged).all() and (one.speed == other.speed).all()
            assert (one.converged == read.converged).all() and one.window == read.window
    draw = Draw(BY_NAME["ReLU"], 16, 20, 0)
    assert 0.9 <= agreement(draw, result.images["ReLU"][0], 4) <= 1
    capsys.readouterr()


@pytest.mark.parametrize(
    "values, message",
    [({"conditions": ("tahn",)}, "conditions"), ({"resolution": 8}, "resolution"), ({"factor": 100}, "factor")],
)
def test_values_out_of_range_are_refused_in_a_sentence(values, message):
    with pytest.raises(ValueError, match=f"expected `{message}`"):
        Config(**values).check()


def test_images_in_parts_are_those_of_one_process(tmp_path, float32, capsys):
    small = {"conditions": ("one example",), "resolution": 16, "zooms": 1, "factor": 4, "steps": 20, "rates": 64}
    whole = run(Config(**small, store=tmp_path / "whole"), Console()).images["one example"]
    parts = [Config(**small, store=tmp_path / "parts", part=f"{index}/2", out=tmp_path / "out") for index in range(2)]
    for config in (parts[0], parts[1], parts[0]):  # part 1 completes the first image, part 0 the second
        assert not (tmp_path / "out").exists()
        show(config, Console())
    images = run(parts[1], Console()).images["one example"]
    for one, other in zip(whole, images, strict=True):
        assert (one.converged == other.converged).all() and (one.speed == other.speed).all()
    assert "left to the other parts" in capsys.readouterr().out and (tmp_path / "out" / "index.html").exists()
