"""The tape as plain data, and as a pandas table."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.tape.unrolled import is_key
from bpjax.util.extras import require_extra


def to_dict(tape) -> dict[str, Any]:
    """A tape in types that JSON has: see `Tape.to_dict`."""
    arguments = [{"name": a.name, "value": plain(a.value), "adjoint": plain(a.adjoint)} for a in tape.arguments]
    value = jax.tree.map(plain, jax.tree.leaves(tape.value))
    return {"function": tape.name, "file": tape.file, "value": value, "arguments": arguments} | {
        "fallbacks": list(tape.fallbacks),
        "entries": [_entry(entry) for entry in tape],
    }


def _entry(entry) -> dict[str, Any]:
    inputs = [
        {"entry": i.entry}
        if i.entry is not None
        else {"argument": i.argument}
        if i.argument
        else {"value": plain(i.value)}
        for i in entry.inputs
    ]
    return {
        "number": entry.number,
        "name": entry.name,
        "operation": entry.operation,
        "symbol": entry.symbol,
        "inputs": inputs,
        "value": plain(entry.value),
        "adjoint": plain(entry.adjoint),
        "source": entry.source._asdict() if entry.source else None,
        "path": list(entry.path),
        "depth": entry.depth,
        "by": entry.by,
    }


def plain(value) -> Any:
    """An array as nested lists of numbers; complex numbers as [real, imaginary], keys as the integers they hold."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_key(value):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    if array.dtype.kind == "c":
        return np.stack([np.real(array), np.imag(array)], axis=-1).tolist()
    return array.astype(float).tolist() if jnp.issubdtype(array.dtype, jnp.floating) else array.tolist()


def to_pandas(tape):
    """A table with a row for each operation: see `Tape.to_pandas`."""
    with require_extra("`to_pandas` makes a pandas table"):
        import pandas as pd
    rows = [
        {
            "name": entry.name,
            "operation": entry.operation,
            "symbol": entry.symbol,
            "value": _cell(entry.value),
            "adjoint": _cell(entry.adjoint),
            "file": entry.source.file if entry.source else None,
            "line": entry.source.line if entry.source else None,
            "code": entry.source.code if entry.source else None,
            "depth": entry.depth,
            "by": entry.by,
        }
        for entry in tape
    ]
    columns = "name operation symbol value adjoint file line code depth by".split()
    return pd.DataFrame(rows, columns=pd.Index(columns), index=pd.RangeIndex(len(rows), name="number"), dtype=object)


def _cell(value):
    """A scalar as a Python number, an array as it is."""
    if value is None or isinstance(value, tuple) or is_key(value) or value.shape:
        return value
    return np.asarray(value).item() if np.asarray(value).dtype.kind != "V" else float(value)
