"""Messages about bad input say what was expected, what was received and how to fix it, before anything compiles."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bpjax as bp

KEY = jax.random.key(0)
NETWORK = bp.mlp((3, 4, 2))
PARAMS, _ = NETWORK.init(KEY, (3,))
RULE = bp.backprop(NETWORK, bp.squared_error)
X, T = jnp.ones((5, 3)), jnp.zeros((5, 2))
CLASSIFIER = bp.backprop(NETWORK, bp.softmax_cross_entropy)


def fit(x=X, t=T, params=PARAMS, rule=RULE, **options):
    return bp.fit(rule, optax.sgd(0.1), params, (x, t), key=KEY, epochs=options.pop("epochs", 1), **options)


def compare(x=X, t=T, params=PARAMS, rule=RULE):
    return bp.compare(rule, bp.autodiff(rule.network, rule.loss), params, (x, t), show=False, timed=False)


def nan_at(a, *index):
    return a.at[index].set(jnp.nan)


OTHER, _ = bp.mlp((3, 4, 4, 2)).init(KEY, (3,))
NARROW, _ = bp.mlp((3, 5, 2)).init(KEY, (3,))

CASES = {
    "features": (lambda: NETWORK.forward(PARAMS, jnp.ones((5, 4))), r"`x` of shape \(N, 3\), got \(5, 4\)"),
    "no batch axis": (lambda: NETWORK.forward(PARAMS, jnp.ones(3)), r"got \(3,\)\. Add the batch axis"),
    "integers": (lambda: fit(x=jnp.ones((5, 3), int)), r"floating-point type, got int64\[5, 3\].*astype"),
    "integers into an activation": (lambda: bp.tanh.forward((), jnp.arange(3)), r"`tanh` expected `x` of a floating"),
    "another dtype": (
        lambda: fit(x=X.astype(jnp.float32)),
        r"dtype of its weights, float64, got float32.*bp.util.cast",
    ),
    "labels too large": (
        lambda: fit(t=jnp.array([0, 1, 2, 0, 1]), rule=CLASSIFIER),
        r"labels from 0 to 1 for 2 outputs, got 2 at index 2 \(1 of 5",
    ),
    "labels negative": (lambda: compare(t=jnp.array([0, 1, -1, 0, 1]), rule=CLASSIFIER), r"got -1 at index 2"),
    "labels, eagerly": (
        lambda: CLASSIFIER.grads(PARAMS, (), (X, jnp.full(5, 9))),
        r"`softmax cross entropy` expected labels from 0 to 1",
    ),
    "labels of another shape": (
        lambda: fit(t=jnp.zeros((5, 1), int), rule=CLASSIFIER),
        r"integer labels of shape \(N,\)",
    ),
    "NaN in examples": (
        lambda: fit(x=nan_at(X, 2, 1)),
        r"`fit` expected finite numbers in `x`, got nan at index \(2, 1\)",
    ),
    "NaN in targets": (lambda: compare(t=nan_at(T, 0, 0)), r"finite numbers in `target`, got nan at index \(0, 0\)"),
    "infinite params": (
        lambda: fit(params=jax.tree.map(lambda p: p / 0, PARAMS)),
        r"finite numbers in `params\[0\]\.w`",
    ),
    "empty batch": (lambda: fit(x=X[:0], t=T[:0]), r"at least one example, got an empty batch of shape \(0, 3\)"),
    "empty batch, forward": (lambda: NETWORK.forward(PARAMS, X[:0]), r"at least one example, got an empty batch"),
    "target of another shape": (
        lambda: fit(t=jnp.zeros((5, 3))),
        r"`target` of the output's shape \(5, 2\), got \(5, 3\)",
    ),
    "targets missing": (lambda: fit(t=T[:4]), r"as many targets as examples.*x \(5, 3\) and target \(4, 2\)"),
    "not a batch": (lambda: bp.fit(RULE, optax.sgd(0.1), PARAMS, X, key=KEY), r"expected a batch `\(x, target\)`"),
    "deeper params": (lambda: fit(params=OTHER), r"`chain` of 3 layers expected a tuple of 3 params, got 5.*`init`"),
    "wider params": (lambda: fit(params=NARROW), r"`dense\(4, use_bias=True\)` expected params Affine"),
    "params of something else": (lambda: fit(params={"w": X}), r"tuple of 3 params, got a dict"),
    "no params": (lambda: bp.compare(RULE, RULE, (), (X, T)), r"params with at least one array, got none"),
    "epochs": (lambda: fit(epochs=0), r"`epochs` to be an integer ≥ 1, got 0"),
    "batch size": (lambda: fit(batch_size=2.5), r"`batch_size` to be an integer ≥ 1, got 2.5"),
    "batch size zero": (lambda: fit(batch_size=0), r"`batch_size` to be an integer ≥ 1, got 0"),
    "validation missing": (
        lambda: fit(stops=bp.training.no_improvement(3)),
        r"expected validation data, got none: give `validation=\(x, target\)`",
    ),
    "goal": (lambda: bp.error_below(-1.0), r"`goal` to be a finite number > 0, got -1.0"),
    "tolerance": (lambda: bp.outputs_within(float("nan")), r"`tolerance` to be a finite number > 0, got nan"),
    "patience": (lambda: bp.training.no_improvement(0), r"`epochs` to be an integer ≥ 1, got 0"),
    "explosion": (lambda: bp.training.diverged(1.0), r"`factor` to be a finite number > 1, got 1.0"),
    "floor": (lambda: bp.training.gradient_below(float("inf")), r"`floor` to be a finite number > 0, got inf"),
    "units": (lambda: bp.dense(0), r"`dense` expected `features` to be an integer ≥ 1, got 0"),
    "units, fractional": (lambda: bp.dense(2.0), r"integer ≥ 1, got 2.0"),
    "in_shape": (lambda: bp.dense(3).init(KEY, (8, 8)), r"`dense` expected an `in_shape` of 1 positive integer"),
    "in_shape of an mlp": (lambda: NETWORK.init(KEY, (4,)), r"`mlp\(\(3, 4, 2\)\)` expected `in_shape` \(3,\)"),
    "within a chain": (
        lambda: bp.chain(bp.tanh, bp.dense(3)).init(KEY, (8, 8)),
        r"In a chain, layer 1 \(dense\) does not fit layer 0 \(tanh\) of shape \(8, 8\): `dense` expected",
    ),
    "a factory, not called": (
        lambda: bp.chain(bp.layers.leaky_relu),
        r"expected a Layer, got leaky_relu\. Call it first",
    ),
    "no layers": (lambda: bp.chain(), r"at least one layer, got none"),
    "one size": (lambda: bp.mlp((3,)), r"at least two sizes, inputs and outputs, got \(3,\)"),
    "no loss": (lambda: bp.backprop(NETWORK, jnp.sum), r"`backprop` expected a Loss as second argument, got sum"),
    "no network": (lambda: bp.autodiff(bp.squared_error, NETWORK), r"`autodiff` expected a Layer, got"),
    "mean of a mean": (lambda: bp.losses.batch_mean(bp.mean_squared_error), r"a mean already"),
    "slope": (lambda: bp.layers.leaky_relu(-0.1), r"`slope` to be a finite number > 0, got -0.1"),
    "elu": (lambda: bp.layers.elu(0.0), r"`scale` to be a finite number > 0, got 0.0"),
    "sigmoid bounds": (lambda: bp.layers.scaled_sigmoid(1.0, 0.0), r"`high` to be a finite number > 1, got 0.0"),
    "huber": (lambda: bp.losses.huber(float("nan")), r"`delta` to be a finite number > 0, got nan"),
    "radius": (lambda: bp.uniform(-1.0), r"`radius` to be a finite number ≥ 0, got -1.0"),
    "unknown task": (lambda: bp.tasks.task("xorr"), r"expected one of xor, parity.*got 'xorr'. Did you mean 'xor'\?"),
    "task without its size": (lambda: bp.tasks.task("parity"), r"could not make 'parity'.*bits"),
    "task with a wrong size": (lambda: bp.tasks.task("parity-four"), r"`bits` to be an integer ≥ 1, got 'four'"),
    "split": (lambda: bp.digits("training"), r"`split` to be one of train, validation, test, got 'training'"),
    "levels": (lambda: bp.xor(levels=(1.0, 0.0)).present(None), r"`levels\[1\]` to be a finite number > 1, got 0.0"),
    "one output, no threshold": (
        lambda: bp.accuracy(bp.layers.identity, (), (jnp.ones((3, 1)), jnp.ones((3, 1)))),
        r"`accuracy` needs a `threshold` for outputs of shape \(3, 1\)",
    ),
    "a rule without a network": (
        lambda: fit(rule=RULE._replace(network=None), stops=bp.outputs_within(0.4)),
        r"rule that knows its network was expected, `backprop` does not",
    ),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_raises_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["NaN in examples", "labels too large", "deeper params", "integers", "empty batch"])
def test_input_is_checked_before_anything_is_compiled(case, monkeypatch):
    def too_late(*args):
        raise AssertionError("the training was compiled before its input was checked")

    # `bpjax.training.fit` is the function: the room binds it over its own module
    monkeypatch.setattr(sys.modules["bpjax.training.fit"], "_compiled", too_late)
    with pytest.raises(ValueError):
        CASES[case][0]()
    with pytest.raises(AssertionError, match="compiled before"):
        fit()


def test_numpy_data_and_python_lists_are_accepted():
    with jax.enable_x64(False):
        params, _ = NETWORK.init(KEY, (3,))
        fit(x=np.ones((5, 3)), t=np.zeros((5, 2)).tolist(), params=params)
