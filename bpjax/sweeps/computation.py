"""A trial, traced: its start, epoch, outcome and watched values as functions, with the constants taken out.

The trial is traced on every sweep, so that a changed task, loss or tolerance is always seen. Compiled programs are
cached by the structure of the computation, not by the Python function: a second sweep with other data of the same
shapes, from another closure or another cell of a notebook, does not compile.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from bpjax.sweeps.axes import RESERVED, SEED
from bpjax.sweeps.plan import Plan
from bpjax.training.trial import Trial
from bpjax.types import Key
from bpjax.util.fingerprint import Canonical, fingerprint, type_of
from bpjax.util.jaxprs import bind_primitive, live_equations
from bpjax.util.shared_jit import calls_host

OWN = ("epochs", "error", "refused")
"""Reserved names that a trial itself may give to its outcome."""


class Part(NamedTuple):
    """Some results of a jaxpr as a function of its constants and inputs."""

    equations: tuple
    constants: tuple  # variables
    inputs: tuple  # variables
    outputs: tuple  # variables and literals
    structure: Any  # of the results, a tree

    def __call__(self, constants, *arguments):
        """The results for these constants and arguments, pytrees in the order of the inputs."""
        values = dict(zip(self.constants, constants, strict=True))
        values |= dict(zip(self.inputs, jax.tree.leaves(arguments), strict=True))

        def value_of(atom):
            return jnp.asarray(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for equation in self.equations:
            results = bind_primitive(equation, [value_of(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return self.structure.unflatten([value_of(atom) for atom in self.outputs])


class Computation:
    """The programs of a trial.

    Two with the same structure are equal, whatever their constants: they share compiled programs. One that calls back
    Python functions equals itself alone, because such a function may remember something.
    """

    def __init__(self, jaxpr, parts: dict[str, Any], arguments: Any, run: Any, words: tuple[tuple[str, ...], ...]):
        """Cut a jaxpr in its parts.

        Args:
            jaxpr: open, (key, hyperparameters, run) -> the results of all parts.
            parts: the name of each part, and its results as a tree of shapes, in the order of the jaxpr's results.
            arguments: (key, hyperparameters) as shapes.
            run: the state of a run as a tree of shapes.
            words: the words for the values of `reason`, and those that are no success.
        """
        self.jaxpr, self.arguments, self.run_shape = jaxpr, arguments, run
        self.reasons, self.failures = words
        self.shapes = parts
        writer = Canonical(self.input_names(), jaxpr.constvars)
        self.steps = list(writer.steps(jaxpr))
        outputs = list(map(writer.name_of, jaxpr.outvars))
        trees = repr({name: jax.tree.structure(shapes) for name, shapes in parts.items()})
        self.structure = fingerprint([*(step.text for step in self.steps), *outputs, trees, repr(words)])
        self.constants = tuple(writer.used)
        """The variables of the constants, in the order of their first use: the same for equal structures."""
        parts = self._cut(len(jax.tree.leaves(arguments)))
        self.start = parts["start"]  # (constants, key, hyperparameters) -> the run before its first epoch
        self.epoch = parts["epoch"]  # (constants, key, hyperparameters, run) -> the run after an epoch, the error
        self.replayed = parts["replayed"]  # likewise, with the record of the epoch instead of the error
        self.outcome = parts["outcome"]  # likewise, what is stored of a run
        self.watch = parts["watch"]  # likewise, the watched values
        self.is_shared = not calls_host(jaxpr)

    def _cut(self, before: int) -> dict[str, Part]:
        """The parts by name; the first `before` inputs are those that exist before the run."""
        outputs, parts, jaxpr = list(self.jaxpr.outvars), {}, self.jaxpr
        for name, shapes in self.shapes.items():
            count = len(jax.tree.leaves(shapes))
            wanted, outputs = tuple(outputs[:count]), outputs[count:]
            inputs = jaxpr.invars[:before] if name == "start" else jaxpr.invars
            equations = tuple(live_equations(jaxpr, wanted))
            parts[name] = Part(equations, self.constants, tuple(inputs), wanted, jax.tree.structure(shapes))
        return parts

    def input_names(self) -> dict:
        """The canonical name of each input."""
        return {variable: f"i{k}:{type_of(variable)}" for k, variable in enumerate(self.jaxpr.invars)}

    def __eq__(self, other):
        if not isinstance(other, Computation):
            return NotImplemented
        return self is other or (self.is_shared and other.is_shared and self.structure == other.structure)

    def __hash__(self):
        return hash(self.structure)

    def __repr__(self):
        return f"Computation({self.structure[:12]}, {len(self.jaxpr.eqns)} equations)"

    def epoch_jaxpr(self):
        """The jaxpr of one epoch of one run: (constants, key, hyperparameters, run) -> (run, error)."""
        constants = tuple(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in self.constants)
        return jax.make_jaxpr(lambda *inputs: self.epoch(*inputs))(constants, *self.arguments, self.run_shape)

    def variables(self, curve_epochs: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of each variable that is stored of a run."""
        shapes = {"reason": jax.ShapeDtypeStruct((), jnp.int8)}
        shapes |= {name: jax.ShapeDtypeStruct(s.shape, s.dtype) for name, s in self.shapes["outcome"].items()}
        if curve_epochs:
            shapes["curve"] = jax.ShapeDtypeStruct((len(curve_epochs),), jnp.result_type(float))
            for name, shape in self.shapes["watch"].items():
                shapes[name] = jax.ShapeDtypeStruct((len(curve_epochs), *shape.shape), shape.dtype)
        return shapes


def trace(trial: Callable, points: Plan, key: Key) -> tuple[Computation, tuple]:
    """Trace a trial: its computation, and the arrays that it closes over, in the order of `Computation.constants`.

    Raises:
        ValueError: it reads a value while it is traced, does not return a `Trial`, its epoch changes shapes, or its
            outcome has a name of another variable.
    """
    arguments = (
        jax.ShapeDtypeStruct((), key.dtype),
        {name: jax.ShapeDtypeStruct((), dtype) for name, dtype in points.dtypes()},
    )
    try:
        start = jax.eval_shape(lambda key, values: made(trial, key, values).start, *arguments)
        run = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), start)
        words: list[tuple[str, ...]] = []
        everything = _everything(trial, words)
        closed, shapes = jax.make_jaxpr(everything, return_shape=True)(*arguments, run)
    except TypeError as error:  # JAX has several for a value that is not known while tracing
        raise _concrete_value_error(error, points) from None
    check_epoch(run, shapes["epoch"][0])
    check_outcome([*shapes["outcome"], *shapes["watch"]], (*points.dims, *points.coords))
    computation = Computation(closed.jaxpr, shapes, arguments, run, tuple(words))
    values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    return computation, tuple(values[variable] for variable in computation.constants)


def _everything(trial: Callable, words: list[tuple[str, ...]]) -> Callable:
    """All results of a trial as one function; it writes the words for `reason`, and those of failures, to `words`."""

    def everything(key, values, run):
        start, program = made(trial, key, values)
        words[:] = tuple(program.reasons), tuple(program.failures)
        after, record = program.epoch(run)
        watch = program.watch
        return {
            "start": start,
            "epoch": (after, record.error),
            "replayed": (after, record),
            "outcome": {name: storable(value) for name, value in program.outcome(run).items()},
            "watch": {name: storable(function(run)) for name, function in watch.items()},
        }

    return everything


def storable(value) -> jax.Array:
    """A value as an array that files can hold: keys as their numbers, 16-bit and 8-bit floats of JAX as float32."""
    value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(value)
    is_numpy = value.dtype.kind in "biufc"
    return value if is_numpy else value.astype(jnp.float32)


def made(trial: Callable, key, values) -> Trial:
    """What the trial returns, or a `ValueError`."""
    result = trial(key, **values)
    if not isinstance(result, Trial):
        raise ValueError(f"`sweep` expected the trial to return `bp.trial(...)`, got {type(result).__name__}.")
    return result


def _concrete_value_error(error: TypeError, points: Plan) -> Exception:
    """The error to raise for a `TypeError` that came while a trial was traced."""
    if not any(word in str(error) for word in ("concrete", "Tracer", "traced")):
        return error
    names = ", ".join(points.hyperparameters) or "the key"
    return ValueError(
        f"`sweep` expected a trial of one shape for all runs, got one that reads a value ({names}) while it is "
        f"traced: {str(error).splitlines()[0]} Use `bp.sweep_over` for what changes shapes or Python's control flow."
    )


def check_epoch(before, after) -> None:
    """Raise a `ValueError` unless an epoch returns a run of the same structure, shapes and dtypes."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError("`sweep` expected an epoch to return a run of the same structure as the start, got another.")
    for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ValueError(
                f"`sweep` expected an epoch to keep shape and dtype of `run{jax.tree_util.keystr(path)}`, "
                f"{old.dtype}{list(old.shape)}, got {new.dtype}{list(new.shape)}."
            )


def check_outcome(names: list[str], axes: tuple[str, ...]) -> None:
    """Raise a `ValueError` where two variables, or a variable and something else of the result, have one name."""
    taken = {name for name in names if name in {*RESERVED, SEED, *axes} - {*OWN} or names.count(name) > 1}
    if taken:
        raise ValueError(
            f"`sweep` expected other names for outcomes than {', '.join(sorted(taken))}: its result has those."
        )
