"""The discrete Fourier transform, its inverse, and both for real sequences."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from bpjax.tape.derivatives.registry import derivative


@derivative("fft")
def fft(x, y, dy, *, fft_type, fft_lengths):
    """y = F x with F_jk = exp(−2πi j k / n), along each of the last axes; F and F⁻¹ are symmetric.

    FFT      dx = F dy
    IFFT     dx = F⁻¹ dy
    RFFT     y is the first half of F x: dx = Re Σₖ dyₖ F_k, which is n IRFFT(conj(dy) / m)
    IRFFT    x is half of a spectrum whose other half is conjugate: dx = m conj(RFFT dy) / n
    m        2 for an entry of the half that stands for two of the spectrum, 1 for the others
    """
    kind = lax.FftType(fft_type)
    if kind in (lax.FftType.FFT, lax.FftType.IFFT):
        return lambda: lax.fft(dy, kind, fft_lengths)
    return (lambda: _of_rfft(x, dy, fft_lengths)) if kind == lax.FftType.RFFT else lambda: _of_irfft(x, dy, fft_lengths)


def _of_rfft(x, dy, lengths):
    weights = 1 / _multiplicity(dy.shape[-1], lengths[-1])
    weighted = lax.conj(dy) * _along_last(weights, dy)
    return (math.prod(lengths) * lax.fft(weighted, lax.FftType.IRFFT, lengths)).astype(x.dtype)


def _of_irfft(x, dy, lengths):
    spectrum = lax.fft(dy, lax.FftType.RFFT, lengths)
    weights = _multiplicity(x.shape[-1], lengths[-1]) / math.prod(lengths)
    return lax.conj(spectrum) * _along_last(weights, spectrum)


def _multiplicity(size: int, length: int) -> np.ndarray:
    """How many entries of a spectrum each entry of its half stands for."""
    index = np.arange(size)
    return np.where((index == 0) | (2 * index == length), 1, 2)


def _along_last(weights: np.ndarray, array):
    return jnp.asarray(weights, array.dtype).reshape((1,) * (array.ndim - 1) + (-1,))
