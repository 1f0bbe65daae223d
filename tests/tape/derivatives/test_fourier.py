"""Fourier transforms: every kind against `jax.vjp` and differences."""

import jax.numpy as jnp
import pytest
from derivative_laws import Case, Cases, complex_normal, every_law, normal

CASES = Cases(
    [
        Case("fft", jnp.fft.fft, complex_normal(2, 5), name="fft"),
        Case("fft", jnp.fft.ifft, complex_normal(2, 4), name="ifft"),
        Case("fft", jnp.fft.rfft, normal(2, 6), name="rfft even"),
        Case("fft", jnp.fft.rfft, normal(2, 5), name="rfft odd"),
        Case("fft", lambda x: jnp.fft.irfft(x, 6), complex_normal(2, 4), name="irfft even"),
        Case("fft", lambda x: jnp.fft.irfft(x, 5), complex_normal(2, 3), name="irfft odd"),
        Case("fft", jnp.fft.fftn, complex_normal(2, 3, 4), name="fftn"),
        Case("fft", jnp.fft.ifft2, complex_normal(2, 3, 4), name="ifft2"),
        Case("fft", jnp.fft.rfftn, normal(2, 3, 4), name="rfftn"),
        Case("fft", lambda x: jnp.fft.irfft2(x, (3, 4)), complex_normal(2, 3, 3), name="irfft2"),
        Case("fft", jnp.fft.rfft, normal(2, 1), name="rfft of one entry"),
        Case("fft", lambda x: jnp.fft.irfft(x, 1), complex_normal(2, 1), name="irfft of one entry"),
    ]
)


@every_law()
@pytest.mark.parametrize("name", CASES.names)
def test_law(law, name):
    law(CASES, name)
