"""The problems of 1986 with features and time: their layers, protocols and classifiers, and two of them in small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from experiments_widths import too_wide

import bpjax as bp
from experiments.internal_representations import (
    experiment,
    family_figure,
    family_rows,
    family_trees,
    pieces,
    protocols,
    sequences,
    shift_register,
    t_c,
)
from tests.oracles import relative_error

UNITS = bp.layers.stage(bp.chain(bp.dense(3), bp.sigmoid), 3)
LAYERS = {
    "columns": (pieces.columns(1, 3), (5,)),
    "total": (pieces.total(), (4, 3, 2)),
    "times": (pieces.times(2), (5, 3)),
    "from_state": (pieces.from_state(UNITS, 4), (3,)),
    "family trees": (family_trees.network(), (36,)),
    "t_c": (t_c.network(), (7, 7, 1)),
    "sequences": (sequences.network(), (6, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_backward_is_the_vjp_of_forward(name):
    layer, in_shape = LAYERS[name]
    params, out_shape = layer.init(jax.random.key(0), in_shape)
    x = jax.random.normal(jax.random.key(1), (2, *in_shape))
    dy = jax.random.normal(jax.random.key(2), (2, *out_shape))
    y, residuals = layer.forward(params, x)
    assert y.shape == dy.shape
    _, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
    assert relative_error(layer.backward(params, residuals, dy), vjp(dy)) < 1e-12


def test_pieces_by_hand():
    x = jnp.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(pieces.columns(1, 3).forward((), x)[0], [[1, 2], [7, 8]])
    image = jnp.arange(8.0).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(pieces.total().forward((), image)[0], [[0 + 2 + 4 + 6, 1 + 3 + 5 + 7]])
    layer = pieces.from_state(UNITS, 2)
    params, _ = layer.init(jax.random.key(0), (3,))
    state = jnp.array([[0.0, 1.0, 1.0]])
    (affine, _), sigmoid = params, jax.nn.sigmoid
    first = sigmoid(state @ affine.w[:3] + affine.b[None])
    second = sigmoid(first @ affine.w[:3] + affine.b[None])
    np.testing.assert_allclose(layer.forward(params, state)[0], jnp.stack([first, second], axis=1), rtol=1e-12)


def test_decay_follows_each_change():
    optimizer = protocols.decayed(bp.momentum(0.1, 0.5), 0.1)
    w, state = jnp.array(1.0), optimizer.init(jnp.array(1.0))
    for expected in (0.9 * (1 - 0.1), 0.9 * (0.81 - 0.15)):  # Δw = −0.1, then −0.1 + 0.5 · −0.1: no decay in Δw
        change, state = optimizer.update(jnp.array(1.0), state, w)
        w = w + change
        assert float(w) == pytest.approx(expected, rel=1e-12)
    later = protocols.decayed(bp.momentum(0.1, 0.5), 0.1, start=1)
    w, state = jnp.array(1.0), later.init(jnp.array(1.0))
    for expected in (0.9, 0.9 * (0.9 - 0.15)):
        change, state = later.update(jnp.array(1.0), state, w)
        w = w + change
        assert float(w) == pytest.approx(expected, rel=1e-12)


def test_the_published_schedule():
    published, w = family_trees.optimizer(1.0, 0.002), jnp.array(0.0)
    state, velocity, expected = published.init(w), 0.0, 0.0
    for sweep in range(23):
        change, state = published.update(jnp.array(1.0), state, w)
        w = w + change
        velocity = (0.5 if sweep < 20 else 0.9) * velocity - (0.005 if sweep < 20 else 0.01)
        expected = 0.998 * (expected + velocity)
    assert float(w) == pytest.approx(expected, rel=1e-12)


def test_held_out_examples_teach_nothing():
    target = jnp.eye(4)[:, :3]
    hidden, chosen = protocols.hold_out(jax.random.key(0), target, 2)
    assert chosen.sum() == 2 and (hidden[chosen] == protocols.HELD_OUT).all()
    np.testing.assert_array_equal(hidden[~chosen], target[~chosen])
    output = jnp.full((4, 3), 0.3)
    loss = protocols.taught(bp.squared_error)
    gradient = loss.gradient(output, hidden)
    np.testing.assert_array_equal(gradient[chosen], 0)
    np.testing.assert_allclose(gradient[~chosen], output[~chosen] - target[~chosen])
    np.testing.assert_allclose(loss.value(output, hidden), 0.5 * ((output - target) ** 2)[~chosen].sum())
    near = bp.losses.error_tolerance(bp.squared_error, 0.2)
    np.testing.assert_allclose(
        protocols.taught(near).gradient(jnp.array([[0.15, 0.85, 0.3]]), jnp.array([[0, 1, -1]])), 0
    )


def test_right_answers_are_the_most_active():
    target = jnp.array([[0, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 0]])
    output = jnp.array([[0.1, 0.4, 0.3, 0.9], [0.5, 0.4, 0.1, 0.9], [0.2, 0.1, 0.0, 0.1]])
    assert protocols.most_active(output, target).tolist() == [True, False, True]


def test_what_a_unit_codes():
    groups = np.array([0, 0, 1, 1, 1, 2])
    units = np.stack([groups == 1, [1.0, 0, 1, 0, 1, 0], np.ones(6)], axis=1).astype(float)
    # unit 2: group means ½, ⅔, 0, mean ½: 3 · (⅙)² + 1 · (½)² = ⅓ between the groups, of 6 · ¼
    np.testing.assert_allclose(family_rows.explained(units, groups), [1, (1 / 3) / 1.5, 0])
    halves, noise = np.arange(24) // 12, np.random.default_rng(0).normal(size=(24, 5))
    correlation = np.array([np.corrcoef(halves, column)[0, 1] for column in noise.T])
    np.testing.assert_allclose(family_rows.explained(noise, halves), correlation**2)
    alike = np.concatenate([noise[:12], 3 + 2 * noise[:12]])
    np.testing.assert_allclose(
        family_rows.likeness(np.stack([alike, alike * np.where(halves, -1, 1)[:, None]])), [1, -1]
    )


def test_untrained_units_code_nothing():
    chance = family_rows.codes(family_rows.untrained(200, 1.0))
    assert set(chance) == {"nationality", "generation", "branch"}
    # for normal weights η² has mean (groups − 1) / 23
    for name, groups in (("nationality", 2), ("generation", 3), ("branch", 3)):
        assert abs(chance[name].mean() - (groups - 1) / 23) < 0.01


@pytest.mark.parametrize(
    ("w", "family"),
    [
        (np.full((3, 3), -2.0) + np.eye(3)[::-1] * 0.3, t_c.COMPACTNESS),
        (np.array([[-1, 2, -1], [-1, 3, -1], [-2, 2, -1]]), t_c.BAR),
        (np.eye(3) * 4 - 1.0, t_c.BAR),
        (np.array([[1, 1, 1], [1, -6, 1], [1, 1, 1.0]]), t_c.CENTRE),
        (np.array([[4, -3, 4], [-3, -2, -3], [4, -3, 4]]), t_c.CORNERS),
        (np.array([[-4, -9, 7], [4, 5, -6], [-7, -9, -5]]), t_c.MIXED),
    ],
)
def test_families_of_detectors(w, family):
    assert t_c.family_of(w)[0] == family == t_c.family_of(-3 * w)[0]


def test_templates_are_unit_vectors():
    templates = t_c.templates()
    assert {name: len(t) for name, t in templates.items()} == {
        t_c.COMPACTNESS: 1,
        t_c.BAR: 8,
        t_c.CENTRE: 1,
        t_c.CORNERS: 1,
    }
    for t in templates.values():
        np.testing.assert_allclose((t**2).sum(axis=(1, 2)), 1)
    assert all(abs(t.sum()) < 1e-12 for name in (t_c.BAR, t_c.CENTRE, t_c.CORNERS) for t in templates[name])


def test_answers_are_the_same_at_all_places():
    params, _ = t_c.network().init(jax.random.key(0), (7, 7, 1))
    conv, _, _, out, _ = params
    outputs = t_c.at_all_places(*(np.asarray(a).reshape(1, -1) for a in (conv.w, conv.b, out.w, out.b)))
    expected, _ = t_c.network().forward(params, bp.tasks.t_c().present()[0])
    np.testing.assert_allclose(outputs, np.broadcast_to(expected[None], (1, 8, 9)), rtol=1e-10)


def test_the_state_between_two_steps():
    ring = np.roll(np.eye(3), 1, axis=1)  # each unit from the one before it
    b = np.full(3, -5.0)
    assert shift_register.between(10 * ring, b) == "shifted"
    assert shift_register.between(-10 * ring, -b) == "complement"
    assert shift_register.between(10 * ring.T, b) == "another code"


def trained_trees():
    """Sweeps like those of the family trees, of random weights; in network 1 units 1 to 3 code the attributes."""
    random = np.random.default_rng(0)
    sizes = {"radius": 3, "factor": 4, "decay": 2, "seed": 2}
    numbers = {name: (tuple(sizes), random.integers(0, 5, tuple(sizes.values()))) for name in ("trained", "held_out")}
    numbers["trained"][1][2, 1, 1] = 90
    coordinates = {
        "radius": list(family_trees.RADII), "factor": list(family_trees.FACTORS), "decay": list(family_trees.DECAYS)
    }  # fmt: skip
    grid = xr.Dataset(numbers, coordinates)
    w = random.normal(size=(1, 1, 1, 2, 24, 6))
    for unit, groups in enumerate(bp.tasks.family_groups().values()):
        w[0, 0, 0, 1, :, unit] = 4 * groups - 4
    dims = ("radius", "factor", "decay", "seed")
    best = xr.Dataset(
        {
            "held_out": (dims, np.array([[[[4, 4]]]])), "trained": (dims, np.full((1, 1, 1, 2), 100)),
            "w": ((*dims, "person", "unit"), w), "b": ((*dims, "unit"), np.zeros((1, 1, 1, 2, 6))),
        },
        {"radius": [2.0], "factor": [2.0], "decay": [0.002]},
    )  # fmt: skip
    return {"grid": grid, "best": best, "kept": xr.Dataset({"trained": ("seed", np.array([90, 92]))})}


def test_rows_and_figure_of_the_family_trees(tmp_path):
    sweeps = trained_trees()
    assert family_trees.best_setting(sweeps["grid"].sel(decay=0.002)) == {"radius": [2.0], "factor": [2.0]}
    rows = {row.quantity: row for row in family_rows.findings(sweeps)}
    assert rows["4 of 4 held-out right"].ours == "2/2" and rows["units code all three"].ours == "1/2"
    assert rows["learnt before at 4 × the rates: training examples still right"].ours == "mean 91.00"
    assert rows["training examples right, of 100"].ours == "mean 100.00"
    best = sweeps["best"]
    ratios = family_rows.codes(family_rows.person_units(best.w.values[0, 0, 0], best.b.values[0, 0, 0]))
    assert family_figure.chosen_network(np.array([4, 4]), ratios) == 1
    assert family_figure.title_of(0, {name: ratio[1] for name, ratio in ratios.items()}).startswith(
        "unit 1: nationality (100"
    )
    figure = experiment.draw([family_trees.FAMILY_TREES], {"family trees": sweeps})
    figure.savefig(tmp_path / "trees.png")
    assert (tmp_path / "trees.png").stat().st_size > 10_000


def test_the_shift_register_is_learnt_in_fewer_than_200_sweeps(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "result"
    assert experiment.main(["--only", "shift", "--quick", "--seeds", "8", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert not too_wide(printed)
    assert "shift register, 3 units" in printed and "both steps" in printed
    sweep = xr.open_zarr(out / "shift_register_3_units.zarr", consolidated=False).load()
    both = sweep.sel(both=1)
    assert both.solved.all() and (both.epochs < 200).all()
    for w, b in zip(both.w1.values.reshape(-1, 4, 3), both.b1.values.reshape(-1, 3), strict=True):
        assert shift_register.between(w, b) == "shifted"
    assert (out / "detectors.png").stat().st_size > 5_000


def test_the_rule_with_held_out_examples_is_backprop_on_the_others():
    task, network = bp.encoder(4), bp.mlp((4, 3, 4), bp.tanh)
    params, _ = network.init(jax.random.key(0), (4,))
    rule = protocols.backprop_with_held_out(network, bp.squared_error, 4, 1)
    chosen = rule.init(jax.random.key(1), params)
    assert chosen.sum() == 1 and len({int(rule.init(jax.random.key(i), params).argmax()) for i in range(40)}) == 4
    x, target = task.present()
    value, grads, state = rule.grads(params, chosen, (x, target))
    expected, expected_grads, _ = bp.autodiff(network, bp.squared_error).grads(
        params, (), (x[~chosen], target[~chosen])
    )
    assert relative_error((value, grads), (expected, expected_grads)) < 1e-12 and (state == chosen).all()
