"""The discrete Fourier transform, its inverse, and both for real sequences."""

import math

import jax.numpy as jnp
from jax import lax

from bpjax.tape.derivatives.registry import derivative


@derivative("fft")
def fft(x, y, dy, *, fft_type, fft_lengths):
    """y = F x with F_jk = exp(−2πi j k / n), along each of the last axes; F and F⁻¹ are symmetric.

    FFT      dx = F dy
    IFFT     dx = F⁻¹ dy
    RFFT     y is the first half of F x: dx = Re F dy, with dy extended by zeros
    IRFFT    x is half of a spectrum whose other half is conjugate: dx = m conj(F dy) / n, m = 2 for an entry of x that
             stands for two of the spectrum, 1 for the others
    """
    kind = lax.FftType(fft_type)
    if kind in (lax.FftType.FFT, lax.FftType.IFFT):
        return lambda: lax.fft(dy, kind, fft_lengths)
    return (lambda: _of_rfft(x, dy, fft_lengths)) if kind == lax.FftType.RFFT else lambda: _of_irfft(x, dy, fft_lengths)


def _of_rfft(x, dy, lengths):
    missing = lengths[-1] - dy.shape[-1]
    extended = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0)] * (dy.ndim - 1) + [(0, missing, 0)])
    return lax.real(lax.fft(extended, lax.FftType.FFT, lengths)).astype(x.dtype)


def _of_irfft(x, dy, lengths):
    spectrum = lax.fft(dy, lax.FftType.RFFT, lengths)
    index = jnp.arange(spectrum.shape[-1])
    multiplicity = jnp.where((index == 0) | (2 * index == lengths[-1]), 1, 2) / math.prod(lengths)
    return lax.conj(spectrum) * multiplicity.astype(spectrum.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
