"""The tape on our own layers: their hand-written backward, `jax.vjp` and `bpjax.tape.vjp` of forward are one map."""

import jax
import pytest
from full_size import FULL
from grouped_cases import CASES, NETWORKS
from oracles import relative_error
from passes import drawn_params, forward_only, noise_like, quick_jit, run, vjp

from bpjax.gradcheck.registry import LOSSES
from bpjax.tape import reverse
from bpjax.tape import vjp as vjp_by_tape

BY_DEFAULT = (
    "dense(3)", "conv(2, (3, 2), stride=2)", "layer_norm()", "batch_norm()", "unroll(lstm(2))", "embedding(5, 3)",
    "attention(2, rotary)", "keyed(chain(dense(6), dropout(0.4), dense(2)))", "relu", "tanh", "softmax",
)  # fmt: skip
"""One layer of each kind; half of the parts of networks, at full size all others, are thorough tests."""

CUSTOM_RULES = {"custom_jvp_call", "custom_vjp_call"}
"""Those of JAX, as `jax.nn.relu` has one, are used as they are; everything else has an entry in the table."""


PARTS = [name for name in CASES if (FULL or not name.startswith(NETWORKS)) and name not in BY_DEFAULT]
TABLE = [pytest.param(CASES[name], id=name) for name in BY_DEFAULT]
TABLE += [pytest.param(CASES[name], id=name, marks=pytest.mark.thorough) for name in PARTS[:: 1 if FULL else 2]]


@pytest.mark.parametrize("case", TABLE)
def test_vjp_of_forward_is_the_hand_written_backward_and_that_of_jax(case, keys, by_jax):
    layer = case.layer
    params, _ = drawn_params(layer, case.in_shape, keys)
    x = case.inputs(next(keys), 3, case.in_shape)
    dy = noise_like(jax.eval_shape(layer.forward, params, x)[0], keys)

    def all_three(params, x, dy):
        y, by_tape = vjp_by_tape(forward_only(layer), params, x)
        return (y, by_tape(dy)), run(layer, params, x, dy), vjp(layer, params, x, dy)

    (y, by_tape), (y_by_hand, by_hand), expected = quick_jit(all_three)(params, x, dy)
    assert relative_error(y, y_by_hand) < 1e-14
    assert relative_error(by_tape, by_hand) < 1e-13
    assert relative_error(by_tape, expected) < 1e-13
    assert by_jax <= CUSTOM_RULES


def test_the_layers_chosen_for_the_default_tests_exist():
    assert set(BY_DEFAULT) <= CASES.keys()


SCALAR_LOSSES = {name: case for name, case in LOSSES.items() if case.loss.reduction != "none"}


@pytest.mark.parametrize("case", SCALAR_LOSSES.values(), ids=SCALAR_LOSSES)
def test_reverse_of_a_loss_is_its_hand_written_gradient_and_that_of_jax(case, keys, by_jax):
    loss, shape = case.loss, (4, 5)
    output, target = case.output(next(keys), shape), case.target(next(keys), shape)

    def all_three(output, target):
        by_hand = loss.value(output, target), loss.gradient(output, target)
        return reverse(loss.value)(output, target), by_hand, jax.value_and_grad(loss.value)(output, target)

    by_tape, by_hand, expected = quick_jit(all_three)(output, target)
    assert relative_error(by_tape, by_hand) < 1e-13
    assert relative_error(by_tape, expected) < 1e-14
    assert by_jax <= CUSTOM_RULES
