"""LAPACK's factorizations, kept out of the batches in which JAX on a CPU may wait for itself."""

from collections.abc import Callable

from jax.custom_batching import sequential_vmap


def sequential_under_vmap(function: Callable) -> Callable:
    """The function itself; under `jax.vmap` a loop over the batch. For what holds a QR, an SVD, an eigenvalue problem.

    On a CPU, JAX (0.10, 0.11) deals the matrices of a *batch* out to the threads that run its programs, and the thread
    that deals waits. Two factorizations of batches at the same time, of one program or of two, can so occupy all
    threads with waiting, for ever: a `vmap` of six QR decompositions does on two cores. One matrix is not dealt out.

    Functions made so have no reverse-mode derivative.
    """
    return sequential_vmap(lambda *arguments: function(*arguments))
