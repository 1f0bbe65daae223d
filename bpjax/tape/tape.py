"""The tape of a computation: every elementary operation with its value, its source line and its adjoint."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.entry import Recorded, TapeEntry, Variable, Variables, adjoint_of
from bpjax.tape.export import to_dict, to_pandas
from bpjax.tape.record import sweep
from bpjax.tape.recording import record
from bpjax.tape.rounding import WITH_ALL_ERRORS, Rounding, rounding
from bpjax.tape.table import array_text, as_html, as_text
from bpjax.tape.values import Adjoints, Value


def tape(f: Callable, *args, **kwargs) -> "Tape":
    """Evaluate a function operation by operation, and keep every operation with its value and its adjoint.

        tape = bp.tape(lambda a, b: (a + b) * a, 2.0, 3.0)
        print(tape)                                              # the table
        assert tape.gradient == {"a": 7.0, "b": 2.0}

    The method of Linnainmaa (1970, in Finnish; BIT 16, 1976, 146–160): operations are recorded in the order of
    evaluation; the reverse sweep goes back from the result and sums v̄ = Σ over the uses w of v of w̄ ∂w/∂v.

    Args:
        f: a JAX function.
        *args: its arguments. Floating-point and complex arrays and Python numbers with a decimal point are
            differentiated; integer arrays and random keys are recorded; Python integers, booleans, strings, functions
            and other objects are constants. Pytrees of these are treated leaf by leaf.
        **kwargs: its keyword arguments.

    Returns:
        the tape. Where the result is a real scalar the reverse sweep is done; otherwise call `Tape.sweep`.

    Raises:
        TypeError: an argument or a value in `f` is a tracer: `tape` was called under `jit`, `grad` or `vmap`.
    """
    return Tape.record(f, args, kwargs)


class Tape:
    """Every elementary operation of a computation: `bp.tape` makes it.

    `tape[3]` is the entry with the number 3, `tape["h"]` the value of the variable `h` in the source or of an argument
    with this name, `tape.line(24)` are the entries of line 24 of the function's file. `len(tape)` is the number of
    operations.
    """

    def __init__(self, recorded: Recorded, adjoints: Adjoints | None):
        """See `Tape.record`."""
        self._recorded = recorded
        self._adjoints = adjoints

    @classmethod
    def record(
        cls,
        f: Callable,
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
        custom_rules: Literal["use", "open", "open_all"] = "use",
    ) -> "Tape":
        """The tape of `f(*args, **kwargs)`, with options.

        Args:
            f: see `tape`.
            args: positional arguments.
            kwargs: keyword arguments.
            custom_rules: "use" a `custom_jvp` or `custom_vjp` as one operation with its own rule, as `jax.grad` does;
                "open" those outside JAX and differentiate what they compute; "open_all" those of JAX as well.

        Raises:
            TypeError: see `tape`.
        """
        recorded = record(f, args, kwargs or {}, custom_rules)
        unswept = cls(recorded, None)
        results = [value.array for value in recorded.outputs]
        if len(results) != 1 or results[0].shape != () or not jnp.issubdtype(results[0].dtype, jnp.floating):
            return unswept
        return unswept.sweep(recorded.out_structure.unflatten([jnp.ones_like(results[0])]))

    def sweep(self, cotangent) -> "Tape":
        """The tape with the adjoints of ⟨cotangent, result⟩.

        Args:
            cotangent: a pytree of arrays of the structure and shapes of the result.

        Raises:
            ValueError: another structure or shape.
        """
        leaves, structure = jax.tree.flatten(cotangent)
        shapes = [value.array.shape for value in self._recorded.outputs]
        if structure != self._recorded.out_structure or [jnp.shape(leaf) for leaf in leaves] != shapes:
            raise ValueError(
                f"`sweep` expected a cotangent of the structure and shapes of the result, "
                f"{jax.tree.map(jnp.shape, self.value)}, got {jax.tree.map(jnp.shape, cotangent)}."
            )
        adjoints = Adjoints()
        for value, leaf in zip(self._recorded.outputs, leaves, strict=True):
            if value.active:
                adjoints.add(value, jnp.asarray(leaf, value.array.dtype))
        sweep(self._recorded.entries, adjoints)
        return Tape(self._recorded, adjoints)

    @property
    def value(self) -> Any:
        """The result of the function."""
        return self._recorded.out_structure.unflatten([value.array for value in self._recorded.outputs])

    @property
    def gradient(self) -> dict[str, Any]:
        """For each argument by name, a pytree of its structure.

        Integer arrays and keys have cotangents of dtype `float0`, as from `jax.vjp`; constants have None.

        Raises:
            ValueError: before a sweep.
        """
        if self._adjoints is None:
            raise ValueError("The result is not a real scalar: `tape.sweep(cotangent).gradient` is its pullback.")
        found = [_gradient_of(leaf, self._adjoints) for _, leaf in self._recorded.leaves]
        return dict(zip(self._recorded.arguments, self._recorded.structure.unflatten(found), strict=True))

    @property
    def arguments(self) -> tuple[Variable, ...]:
        """The arrays among the arguments, under names such as `a`, `params['w']`, `xs[0]`."""
        leaves = self._recorded.leaves
        return tuple(self._variable(name, leaf) for name, leaf in leaves if isinstance(leaf, Value))

    @property
    def entries(self) -> tuple[TapeEntry, ...]:
        """The operations in the order of evaluation."""
        return tuple(self)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """Primitives without an entry in the table, which `jax.vjp` differentiated."""
        return tuple(sorted({entry.operation for entry in self if entry.by == "jax.vjp"}))

    @property
    def name(self) -> str:
        """The name of the function."""
        return self._recorded.name

    @property
    def file(self) -> str | None:
        """The file that defines the function; None where Python does not know it."""
        return self._recorded.file

    def line(self, number: int, file: str | None = None) -> tuple[TapeEntry, ...]:
        """The entries that were recorded while a line of the source was active.

        Args:
            number: of the line.
            file: its file, or the end of its path; by default that of the recorded function.
        """
        file = self.file if file is None else file
        if file is None:
            raise ValueError("The file of this function is not known: pass `file=`.")
        return tuple(e for e in self if any(s.line == number and s.file.endswith(file) for s in e.lines))

    def __len__(self) -> int:
        return len(self._recorded.lines)

    def __iter__(self) -> Iterator[TapeEntry]:
        return (TapeEntry(self._recorded, self._adjoints, line) for line in self._recorded.lines)

    @overload
    def __getitem__(self, key: int) -> TapeEntry: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[TapeEntry, ...]: ...
    @overload
    def __getitem__(self, key: str) -> Variable | Variables: ...
    def __getitem__(self, key):
        """The entry with a number, or what a variable of the source holds."""
        if isinstance(key, slice):
            return tuple(TapeEntry(self._recorded, self._adjoints, line) for line in self._recorded.lines[key])
        if not isinstance(key, str):
            return TapeEntry(self._recorded, self._adjoints, self._recorded.lines[key])
        found = [variable for variable in self.arguments if variable.name == key]
        found += [self._variable(key, assigned.value) for assigned in self._recorded.by_name.get(key, [])]
        if not found:
            known = dict.fromkeys([v.name for v in self.arguments] + list(self._recorded.by_name))
            raise KeyError(f"No variable {key!r} on this tape; it has {', '.join(known) or 'none'}.")
        return found[0] if len(found) == 1 else Variables(found)

    def _variable(self, name: str, value: Value) -> Variable:
        origin = self._recorded.origin.get(value)
        entry = self[origin] if isinstance(origin, int) else None
        return Variable(name, value.array, adjoint_of(value, self._adjoints), entry)

    def rounding(self, dtype: Any = "bfloat16") -> Rounding:
        """How large the rounding error of the result is when every operation is computed in a dtype.

            >>> print(bp.tape(lambda a, b: (a * a - b * b) / (a - b), 1.02, 1.01).rounding("float16"))

        Arguments and constants are rounded to the dtype too. Functions with custom rules are opened, and errors pass
        through `stop_gradient`. Loops and branches take the same way as in the recorded computation; where a comparison
        could turn out differently, the forecast says so. See `bpjax.tape.forecast` for the formulas.

        Args:
            dtype: "float32", "bfloat16", "float16" or such a dtype.

        Raises:
            ValueError: the result is not one real scalar.
        """
        results = [value.array for value in self._recorded.outputs]
        if len(results) != 1 or results[0].shape != () or not jnp.issubdtype(results[0].dtype, jnp.floating):
            shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in results)
            raise ValueError(f"`rounding` needs a function with one real scalar result, got {shapes}: sum it.")
        return rounding(self._recorded.again("open_all", WITH_ALL_ERRORS), jnp.dtype(dtype))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: function, file, value (its leaves), arguments, entries and fallbacks.

        Arrays are nested lists; complex numbers are [real, imaginary]; keys are the integers they hold.
        """
        return to_dict(self)

    def to_pandas(self):
        """A `pandas.DataFrame` with a row for each operation.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return to_pandas(self)

    @property
    def title(self) -> str:
        """One line: the function, the number of operations, the result where it is one array."""
        recorded = self._recorded
        result = f" = {array_text(recorded.outputs[0].array)}" if len(recorded.outputs) == 1 else ""
        count = f"{len(self)} operation{'' if len(self) == 1 else 's'}"
        return f"{recorded.name}({', '.join(recorded.arguments)}){result}, {count}"

    def table(self, width: int = 120, ascii: bool = False, every_iteration: bool = False) -> str:
        """The tape as text.

        Args:
            width: columns of text at most.
            ascii: write `sum` for Σ and so on.
            every_iteration: show all iterations of loops, not the first two and the last.
        """
        return as_text(self, width, ascii, every_iteration)

    def __str__(self) -> str:
        text = self.table()
        try:
            text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return self.table(ascii=True)
        return text

    def __repr__(self) -> str:
        return f"<tape of {self.title}>"

    def _repr_html_(self) -> str:
        return as_html(self)


def _gradient_of(leaf, adjoints: Adjoints):
    if not isinstance(leaf, Value):
        return None
    return adjoints.or_zeros(leaf) if leaf.active else np.zeros(jnp.shape(leaf.array), jax.dtypes.float0)
