"""Published learning speeds: each row has a problem, an optimizer with its parameters, and the published result.

Protocol of all rows, unless a row says otherwise: sigmoid units, E = ½ Σ (t − o)², all examples in one batch, gradients
summed over examples, weights and biases drawn uniformly from ±1, success when every output is within 0.4 of its target
(Fahlman's 40-20-40 criterion). An epoch is one presentation of all examples, including the one that detects success.
"""

import functools

import bpjax as bp
from experiments.common.networks import sigmoid_network
from experiments.learning_speed.row import Published, Row, tuned

FAHLMAN = "Fahlman 1988"
RIEDMILLER = "Riedmiller & Braun 1993"
JACOBS = "Jacobs 1988"
PDP = "Rumelhart, Hinton & Williams 1986, PDP"
NATURE = "Rumelhart, Hinton & Williams 1986, Nature"

STEEP = bp.layers.flat_spot(bp.sigmoid, 0.1)
"""Fahlman's unit: a sigmoid with the derivative φ′ + 0.1."""
SPLIT = functools.partial(bp.quickprop, split=True)
"""Quickprop with ε divided by the number of incoming weights, as in Fahlman's program."""


net = functools.cache(sigmoid_network)
"""One object for each network, so that rows with the same network share a compiled program."""


@functools.cache
def rows() -> tuple[Row, ...]:
    """Every row, in the order of the tables."""
    return (*_encoder_10_5_10(), *_encoder_12_2_12(), *_tight_encoders(), *_xor(), *_boolean())


def _encoder_10_5_10():
    row = functools.partial(Row, "10-5-10")
    plain, offset = net((10, 5, 10)), net((10, 5, 10), unit=STEEP)
    batch = bp.encoder(10, 5).present()
    yield row(
        "backprop",
        "η 1.7",
        plain,
        batch,
        tuned(bp.momentum, learning_rate=1.7, momentum=0.0),
        Published(FAHLMAN, 129, 46),
    )
    yield row(
        "backprop",
        "η 1.9",
        plain,
        batch,
        tuned(bp.momentum, learning_rate=1.9, momentum=0.0),
        Published(RIEDMILLER, 121, 30),
    )
    yield row(
        "backprop", "η 1.7, φ′ + 0.1", offset, batch, tuned(bp.momentum, learning_rate=1.7, momentum=0.0),
        note="Fahlman: about half of the epochs without the offset, no value.",
    )  # fmt: skip
    yield row("backprop, momentum", "η 0.03, α 0.9", plain, batch, tuned(bp.momentum, learning_rate=0.03, momentum=0.9))
    yield row("bold driver", "η₀ 1.7", plain, batch, tuned(bp.optimizers.bold_driver, learning_rate=1.7))
    yield row("traingdx", "η₀ 0.01, α 0.9", plain, batch, tuned(bp.optimizers.traingdx))
    yield row("Silva-Almeida", "η₀ 1.7", plain, batch, tuned(bp.optimizers.silva_almeida, learning_rate=1.7))
    yield row("delta-bar-delta", "η₀ 1.7", plain, batch, tuned(bp.optimizers.delta_bar_delta, learning_rate=1.7))
    yield row(
        "SuperSAB",
        "η₀ 2, α 0.8",
        plain,
        batch,
        tuned(bp.optimizers.supersab, learning_rate=2.0, momentum=0.8),
        Published(RIEDMILLER, 55, 11),
    )
    quickprop = tuned(bp.quickprop, learning_rate=1.5, growth=1.75)
    yield row("Quickprop", "ε 1.5, μ 1.75", plain, batch, quickprop, Published(FAHLMAN, 22.1, 8.9))
    yield row("Quickprop", "ε 1.5, μ 1.75", plain, batch, quickprop, Published(RIEDMILLER, 21, 3))
    yield row("Rprop+", "Δ₀ 2", plain, batch, tuned(bp.rprop, initial=2.0), Published(RIEDMILLER, 19, 3))
    yield row("Rprop-", "Δ₀ 0.1", plain, batch, tuned(functools.partial(bp.rprop, variant="rprop-"), initial=0.1))
    yield row("iRprop-", "Δ₀ 0.1", plain, batch, tuned(functools.partial(bp.rprop, variant="irprop-"), initial=0.1))
    yield row("Rprop+", "Δ₀ 0.1", plain, batch, tuned(bp.rprop, initial=0.1))
    yield row("iRprop+", "Δ₀ 0.1", plain, batch, tuned(functools.partial(bp.rprop, variant="irprop+"), initial=0.1))


def _encoder_12_2_12():
    row = functools.partial(Row, "12-2-12", limit=2000)
    plain, offset = net((12, 2, 12)), net((12, 2, 12), unit=STEEP)
    batch = bp.encoder(12, 2).present()
    yield row(
        "SuperSAB", "η₀ 1, α 0.95", plain, batch, tuned(bp.optimizers.supersab, learning_rate=1.0, momentum=0.95),
        Published(RIEDMILLER, 534, 90),
        note="The paper's growth and shrink factors and the bound of the rates are not known to us.",
    )  # fmt: skip
    yield row(
        "Quickprop", "ε 0.05, μ 1.3", plain, batch, tuned(bp.quickprop, learning_rate=0.05, growth=1.3),
        Published(RIEDMILLER, 405, 608),
        note="The paper's sd shows a long tail; ours ends at the limit of 2,000 epochs.",
    )  # fmt: skip
    under_specified = "Under-specified: with the paper's Δ_max = 50 most runs saturate."
    published = Published(RIEDMILLER, 322, 112)
    yield row("Rprop+", "Δ₀ 1", plain, batch, tuned(bp.rprop, initial=1.0), published, note=under_specified)
    yield row(
        "Rprop+",
        "Δ₀ 0.2, Δ at most 0.5",
        plain,
        batch,
        tuned(bp.rprop, initial=0.2, largest=0.5),
        published,
        note=under_specified,
    )
    yield row("Rprop+", "Δ₀ 1, φ′ + 0.1", offset, batch, tuned(bp.rprop, initial=1.0), published, note=under_specified)


def _tight_encoders():
    published = {4: 15.98, 8: 21.99, 16: 28.93, 32: 30.48, 64: 33.90}
    for epsilon in (1, 2):
        for n, mean in published.items():
            task = bp.encoder(n)
            (hidden,) = task.hidden
            yield Row(
                "tight encoders",
                f"{n}-{hidden}-{n}  Quickprop",
                f"ε {epsilon}, split, hyper",
                net((n, hidden, n), unit=STEEP),
                task.present(),
                tuned(SPLIT, learning_rate=epsilon, growth=1.75, decay=-1e-4),
                Published(FAHLMAN, mean),
                bp.losses.hyper_error,
                limit=300,
                note="Fahlman's ε is not known to us; 1, the default of his program, was added after 2 failed from 32.",
            )


def _xor():
    symmetric = bp.layers.flat_spot(bp.layers.scaled_sigmoid(-0.5, 0.5))
    yield Row(
        "XOR, units ±½",
        "Quickprop",
        "ε 4, μ 2.25, split, hyper",
        net((2, 2, 1), unit=symmetric),
        bp.xor((-0.5, 0.5)).present(),
        tuned(SPLIT, learning_rate=4.0, growth=2.25, decay=-1e-4),
        Published(FAHLMAN, 24.22, 16.3, 100, restarts=14),
        bp.losses.hyper_error,
        limit=40,
        restarts=25,
    )
    row = functools.partial(
        Row, "XOR, targets 0.1 0.9", network=net((2, 2, 1)), batch=bp.xor((0.0, 1.0), (0.1, 0.9)).present(),
        stop=bp.error_below(0.02), limit=4000,
    )  # fmt: skip
    note = "Jacobs' initial weights and rates are not known to us; success is Σ (t − o)² < 0.04."
    descent, delta = Published(JACOBS, 538.9, None, 25), Published(JACOBS, 250.4, None, 25)
    yield row(
        "backprop", "η 3.5", optimizer=tuned(bp.momentum, learning_rate=3.5, momentum=0.0), published=descent, note=note
    )
    yield row(
        "backprop, momentum",
        "η 0.1, α 0.9",
        optimizer=tuned(bp.momentum, learning_rate=0.1, momentum=0.9),
        published=descent,
        note=note,
    )
    yield row(
        "delta-bar-delta",
        "η₀ 0.1",
        optimizer=tuned(bp.optimizers.delta_bar_delta, learning_rate=0.1),
        published=delta,
        note=note,
    )
    yield row(
        "delta-bar-delta",
        "η₀ 0.8",
        optimizer=tuned(bp.optimizers.delta_bar_delta, learning_rate=0.8),
        published=delta,
        note=note,
    )
    init = bp.uniform(0.3)
    hidden, output = (bp.dense(1, weights=init, biases=init) for _ in range(2))
    yield Row(
        "XOR, 2-1-1 with shortcuts",
        "backprop, momentum",
        "η 0.5, α 0.9, ±0.3",
        bp.chain(bp.layers.shortcut(bp.chain(hidden, bp.sigmoid)), output, bp.sigmoid),
        bp.xor().present(),
        tuned(bp.momentum, learning_rate=0.5, momentum=0.9),
        Published(PDP, 558, None, 1),
        stop=bp.outputs_within(0.5),
        limit=4000,
        note="One run, with one hidden unit and direct links, not 2-2-1 as is often assumed.",
    )


def _boolean():
    row = functools.partial(Row, rule="backprop, momentum", stop=bp.outputs_within(0.5))
    yield row(
        "symmetry, 6-2-1",
        numbers="η 0.1, α 0.9, ±0.3",
        network=net((6, 2, 1), 0.3),
        batch=bp.tasks.symmetry(6).present(),
        optimizer=tuned(bp.momentum, learning_rate=0.1, momentum=0.9),
        published=Published(NATURE, 1425, None, 1),
        limit=3500,
        outcome=lambda run: {"hidden_weights": run.params[0].w},
    )
    yield row(
        "parity-4, 4-4-1",
        numbers="η 0.5, α 0.9, ±0.5",
        network=net((4, 4, 1), 0.5),
        batch=bp.parity(4).present(),
        optimizer=tuned(bp.momentum, learning_rate=0.5, momentum=0.9),
        published=Published(PDP, 2825, None, 1),
        limit=4000,
        note="PDP reports one run; most of ours do not succeed within 4,000 epochs.",
    )
