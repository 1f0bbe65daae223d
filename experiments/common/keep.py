"""Store a computed result, in another place where the chosen one fails: a full disk must not cost a day's training."""

import contextlib
import dataclasses
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

from bpjax.results.record import written_aside
from bpjax.results.replace import Misplaced
from experiments.common.config import StoredSettings

ConfigType = TypeVar("ConfigType", bound=StoredSettings)
Value = TypeVar("Value")
Results = ParamSpec("Results")


def keep(
    config: ConfigType,
    store: Callable[Concatenate[ConfigType, Path, Results], Value],
    *results: Results.args,
    **named: Results.kwargs,
) -> tuple[ConfigType, Value]:
    """`store(config, folder, *results)` into a folder that then takes the place of `config.out`, all or nothing.

    Where `config.out` cannot be written (a full disk, a folder that has become read-only, something that is not a
    result), the result goes to the temporary, the working or the home folder, and stderr says where.

    Args:
        config: of the experiment.
        store: writes the results and a record into the folder that it receives; it may be called again.
        *results: what was computed.
        **named: the same, by name.

    Returns:
        The config with `out` where the result is now, and what `store` returned.

    Raises:
        ValueError: no place can be written; the message names each and why.
    """
    failed = []
    for place in (config.out, *_other_places(config.out.name or "results")):
        has_begun, value = False, cast(Value, None)
        try:
            with written_aside(place) as folder:
                has_begun = True
                value = store(config, folder, *results, **named)
        except Misplaced as error:  # complete, but beside `place`
            failed, place = [*failed, str(error)], error.folder
        except (OSError, ValueError) as error:
            reason = _system_error(error)
            if has_begun and reason is None:
                raise
            failed.append(f"{place} could not be written ({reason.strerror})." if reason else str(error))
            continue
        if failed:
            print(f"{' '.join(failed)} The result is in {place}.", file=sys.stderr)
        return dataclasses.replace(config, out=place), value
    raise ValueError(f"the result could not be written anywhere. {' '.join(failed)}")


def _other_places(name: str) -> Iterator[Path]:
    """New folders elsewhere, most suitable first."""
    name = f"{name}-{secrets.token_hex(4)}"
    for folder in (tempfile.gettempdir, Path.cwd, Path.home):
        with contextlib.suppress(OSError, RuntimeError):  # no temporary, working or home folder
            yield Path(folder()) / name


def _system_error(error: BaseException | None) -> OSError | None:
    """The refusal of the system that caused `error`, if one did: our own messages replace it by a sentence."""
    while error is not None and not (isinstance(error, OSError) and error.strerror):
        error = error.__cause__ or error.__context__
    return error
