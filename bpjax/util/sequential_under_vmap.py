"""Batched LAPACK factorizations can deadlock in JAX on a CPU; this runs them one after another."""

from collections.abc import Callable

from jax.custom_batching import sequential_vmap


def sequential_under_vmap(function: Callable) -> Callable:
    """The function, which under `jax.vmap` loops over the batch. Use it around QR, SVD and eigenvalue problems.

    On a CPU, JAX (0.10, 0.11) distributes the matrices of a *batch* over the threads that also run its programs, and
    the distributing thread waits for the others. Two batched factorizations at the same time, in one program or in two,
    can so block all threads for ever: a `vmap` of six QR decompositions does on two cores. A single matrix is not
    distributed.

    The result has no reverse-mode derivative.
    """
    return sequential_vmap(lambda *arguments: function(*arguments))
