"""Other ways to train a small network: plain JAX, PyTorch, scikit-learn, and FANN in C.

All but JAX are optional: `pip install torch scikit-learn`, `apt-get install libfann2`. FANN is called by ctypes,
because its Python binding does not find the library of Debian.
"""

import ctypes
import ctypes.util
import functools
import importlib
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

FEW = 50
"""Epochs per sample of the other libraries, which are slower."""


def plain_network(sizes):
    """The gradient of ½ Σ (t − o)² of a sigmoid net in ordinary jax.numpy."""

    def error(params, x, t):
        for layer in params:
            if layer:
                x = jax.nn.sigmoid(x @ layer.w + layer.b)
        return 0.5 * jnp.sum((t - x) ** 2)

    return jax.grad(error)


def vmapped_sweep(x, t, epochs: int, tolerance: float) -> Callable:
    """(params, rates, momenta) with a leading run axis -> epochs each run needed: `vmap` of a `scan` with `jax.grad`.

    Heavy ball, Δw = −η ∂E/∂w + α Δw. All runs take all epochs, as a compiled scan does; the result is the first epoch
    with every |t − o| < tolerance, or `epochs` if there is none.
    """

    def error(params, x, t):
        for layer in params:
            x = jax.nn.sigmoid(x @ layer.w + layer.b)
        return 0.5 * jnp.sum((t - x) ** 2), jnp.max(jnp.abs(t - x))

    def train(params, rate, momentum):
        def epoch(carry, number):
            params, velocity, needed = carry
            (_, worst), grads = jax.value_and_grad(error, has_aux=True)(params, x, t)
            needed = jnp.where((worst < tolerance) & (needed == epochs), number, needed)
            velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, velocity, grads)
            return (jax.tree.map(jnp.add, params, velocity), velocity, needed), None

        start = params, jax.tree.map(jnp.zeros_like, params), jnp.int32(epochs)
        return jax.lax.scan(epoch, start, 1 + jnp.arange(epochs))[0][2]

    return jax.jit(jax.vmap(train))


def other_libraries(sizes, x, t, rate) -> dict[str, Callable]:
    """`FEW` epochs of a full-batch training in each of the other libraries that is installed.

    Args:
        sizes: of the layers.
        x: examples.
        t: targets.
        rate: learning rate.
    """
    calls = {}
    for name, make in (
        ("PyTorch, eager", torch_epochs),
        ("FANN, batch", functools.partial(fann_epochs, algorithm=FANN_BATCH)),
        ("scikit-learn", sklearn_epochs),
    ):
        try:
            calls[name] = make(sizes, x, t, rate)
        except ModuleNotFoundError as missing:
            print(f"{name}: {missing.name} is not installed, its row is left out")
    return calls


def torch_epochs(sizes, x, t, rate) -> Callable:
    """`FEW` epochs of the usual PyTorch loop."""
    torch = importlib.import_module("torch")
    layers = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [torch.nn.Linear(a, b), torch.nn.Sigmoid()]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    x, t = torch.tensor(x), torch.tensor(t)

    def epochs():
        for _ in range(FEW):
            optimizer.zero_grad()
            (0.5 * ((t - model(x)) ** 2).sum()).backward()
            optimizer.step()

    return epochs


def torch_sweep(weights, x, t, rates, momenta) -> Callable:
    """`FEW` epochs of all runs side by side by `torch.func.vmap` of a gradient, heavy ball, without stops.

    Args:
        weights: (W, b) of every layer in one list, with a leading run axis.
        x: examples.
        t: targets.
        rates: (R,) learning rates.
        momenta: (R,) momentum coefficients.
    """
    torch = importlib.import_module("torch")
    first = [torch.tensor(np.asarray(leaf)) for leaf in weights]
    x, t, rates, momenta = (torch.tensor(np.asarray(a)) for a in (x, t, rates, momenta))

    def error(weights):
        o = x
        for w, b in zip(weights[::2], weights[1::2], strict=True):
            o = torch.sigmoid(o @ w + b)
        return 0.5 * ((t - o) ** 2).sum()

    gradient = torch.func.vmap(torch.func.grad(error))
    beside = lambda values, leaf: values.reshape(-1, *[1] * (leaf.ndim - 1))

    def epochs():
        weights, velocity = first, [torch.zeros_like(w) for w in first]
        for _ in range(FEW):
            grads = gradient(weights)
            velocity = [beside(momenta, v) * v - beside(rates, v) * g for v, g in zip(velocity, grads, strict=True)]
            weights = [w + v for w, v in zip(weights, velocity, strict=True)]

    return epochs


def sklearn_epochs(sizes, x, t, rate) -> Callable:
    """`FEW` epochs of the nearest equivalent in scikit-learn: an identity output, and the mean for the sum."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    regressor = MLPRegressor(
        hidden_layer_sizes=sizes[1:-1],
        activation="logistic",
        solver="sgd",
        learning_rate_init=rate,
        momentum=0.0,
        alpha=0.0,
        batch_size=len(x),  # type: ignore[arg-type]
        max_iter=FEW,
        tol=0.0,
        n_iter_no_change=FEW + 1,
        shuffle=False,
        random_state=0,
    )

    def epochs():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regressor.fit(x, t.ravel() if t.shape[1] == 1 else t)

    return epochs


# --- FANN, in C, float32 -------------------------------------------------------------------------------------------

FANN_INCREMENTAL, FANN_BATCH = 0, 1  # fann_train_enum
FANN_SIGMOID = 3  # fann_activationfunc_enum
FANN_LINEAR_ERROR = 0  # fann_errorfunc_enum: the error's derivative is t − o, not its atanh
FANN_STOP_BIT = 1  # fann_stopfunc_enum: until no output is off by the limit or more


@functools.cache
def libfann() -> ctypes.CDLL:
    """The C library; `ModuleNotFoundError` where it is not installed."""
    path = ctypes.util.find_library("floatfann")
    if path is None:
        raise ModuleNotFoundError("libfann2 is not installed", name="libfann2")
    library = ctypes.CDLL(path)
    library.fann_create_standard_array.restype = ctypes.c_void_p
    library.fann_create_train.restype = ctypes.c_void_p
    library.fann_train_epoch.restype = ctypes.c_float
    return library


class FannData(ctypes.Structure):
    """`struct fann_train_data` of FANN 2.2."""

    _fields_ = [
        ("errno", ctypes.c_int),
        ("error_log", ctypes.c_void_p),
        ("errstr", ctypes.c_char_p),
        ("examples", ctypes.c_uint),
        ("inputs", ctypes.c_uint),
        ("outputs", ctypes.c_uint),
        ("input", ctypes.POINTER(ctypes.POINTER(ctypes.c_float))),
        ("output", ctypes.POINTER(ctypes.POINTER(ctypes.c_float))),
    ]


def fann_data(x, t) -> ctypes.c_void_p:
    """Examples as FANN holds them."""
    pointer = ctypes.c_void_p(libfann().fann_create_train(len(x), x.shape[1], t.shape[1]))
    data = ctypes.cast(pointer, ctypes.POINTER(FannData)).contents
    for rows, values in ((data.input, x), (data.output, t)):
        for row, example in enumerate(values):
            for column, value in enumerate(example):
                rows[row][column] = float(value)
    return pointer


def fann_network(sizes, rate: float, momentum: float, algorithm: int) -> ctypes.c_void_p:
    """A net of logistic units with plain backpropagation; FANN's own initial weights, −0.1 to 0.1, if not set again."""
    fann = libfann()
    network = ctypes.c_void_p(fann.fann_create_standard_array(len(sizes), (ctypes.c_uint * len(sizes))(*sizes)))
    fann.fann_set_activation_function_hidden(network, FANN_SIGMOID)
    fann.fann_set_activation_function_output(network, FANN_SIGMOID)
    fann.fann_set_train_error_function(network, FANN_LINEAR_ERROR)
    fann.fann_set_training_algorithm(network, algorithm)
    fann.fann_set_learning_rate(network, ctypes.c_float(rate))
    fann.fann_set_learning_momentum(network, ctypes.c_float(momentum))
    return network


def fann_epochs(sizes, x, t, rate, algorithm: int = FANN_INCREMENTAL, epochs: int = FEW) -> Callable:
    """`epochs` epochs of FANN's training, in batch or example by example."""
    fann, data = libfann(), fann_data(x, t)
    network = fann_network(sizes, rate, 0.0, algorithm)
    return lambda: fann.fann_train_on_data(network, data, epochs, 0, ctypes.c_float(0.0))


def fann_sweep(sizes, x, t, rates, momenta, epochs: int, tolerance: float, workers: int) -> tuple[Callable, int]:
    """A function that trains a network on-line at each rate and momentum coefficient, and the epochs it takes.

    FANN's own dynamics: its batch training knows no momentum, so one update per example, Δw = η δ o + α Δw. A training
    is one call in C, which stops as soon as an epoch found every |t − o| < tolerance.
    """
    fann, used = libfann(), []
    report = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_uint] * 2, ctypes.c_float, ctypes.c_uint)
    networks, data = [], [fann_data(x, t) for _ in range(workers)]
    for rate, momentum in zip(rates, momenta, strict=True):
        network = fann_network(sizes, rate, momentum, FANN_INCREMENTAL)
        fann.fann_set_train_stop_function(network, FANN_STOP_BIT)
        fann.fann_set_bit_fail_limit(network, ctypes.c_float(tolerance))
        networks.append(network)

    def some(worker: int, between: int):
        for network in networks[worker::workers]:
            fann.fann_train_on_data(network, data[worker], epochs, between, ctypes.c_float(0.0))

    def train_all(between: int = 0):
        ctypes.CDLL(None).srand(1)  # the same initial weights each time
        for network in networks:
            fann.fann_randomize_weights(network, ctypes.c_float(-1.0), ctypes.c_float(1.0))
        with ThreadPoolExecutor(workers) as threads:  # ctypes releases the GIL
            list(threads.map(some, range(workers), [between] * workers))

    @report
    def note(_network, _data, _most, _between, _goal, epoch):
        if epoch > 1 or epochs == 1:
            used.append(epoch)
        return 0

    for network in networks:
        fann.fann_set_callback(network, note)
    train_all(epochs + 1)  # FANN reports the first epoch and the last
    for network in networks:
        fann.fann_set_callback(network, None)
    return train_all, sum(used)
