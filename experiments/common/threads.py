"""Several sweeps at a time: one compiles, on one core, while another trains."""

import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Protocol, TypeVar

from bpjax.sweeps.workers import cores
from bpjax.util.jax_settings import jax_settings, under

Item = TypeVar("Item", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Work(Protocol[Item, Answer]):
    """What is done with one item."""

    def __call__(self, item: Item, stop: threading.Event, /) -> Answer:
        """Return the result of `item`; call `stop_if(stop)` now and then."""
        ...


def in_parallel(work: Work[Item, Answer], items: Iterable[Item], workers: int | None = None) -> list[Answer]:
    """`work(item, stop)` of every item, in threads that have this thread's JAX settings.

    After an error or a Ctrl-C no further item begins, and `stop` is set for those that are running.

    Args:
        work: the function.
        items: its first arguments.
        workers: threads; one for each core by default.

    Returns:
        The results in the order of the items.
    """
    settings, stop = jax_settings(), threading.Event()

    def with_settings(item):
        with under(settings):
            return work(item, stop)

    with ThreadPoolExecutor(workers or cores()) as threads:
        try:
            return list(threads.map(with_settings, items))
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def stop_if(stop: threading.Event) -> None:
    """Raise a `CancelledError` if `stop` is set."""
    if stop.is_set():
        raise CancelledError
