"""Python's search for garbage, put off while many objects are made that are soon gone."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collection_put_off() -> Iterator[None]:
    """A context, or decorator, in which Python does not search for garbage in reference cycles.

    Every search that finds objects in use counts them as old, and many old ones make Python search all memory, which
    takes 0.2 seconds when JAX is loaded.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
