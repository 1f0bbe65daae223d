"""Images of another size, by the nearest position or by linear interpolation between positions.

Along an axis of n positions output o of O reads the position

    nearest                        ⌊o n / O⌋
    nearest-exact                  ⌊(o + ½) n / O⌋
    linear                         max((o + ½) n / O − ½, 0), between its neighbours       positions are cells
    linear with `align_corners`    o (n − 1) / (O − 1)                                     positions are points

the rules of `torch.nn.functional.interpolate`. Both passes are gathers, see `taps.py`.
"""

import functools
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.convolution.windows import IMAGES, check_image, check_image_shape
from bpjax.layers.layer import Layer
from bpjax.layers.spatial.taps import Taps, apply_taps
from bpjax.types import Shape
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_choice, check_counts, check_flag, is_concrete
from bpjax.util.precision import widen

Method = Literal["nearest", "nearest-exact", "linear"]


def upsample(
    factor: float | tuple[float, ...] | None = None,
    size: int | Shape | None = None,
    method: Method = "nearest",
    align_corners: bool = False,
) -> Layer:
    """An image of another size, usually a larger one, x (N, *spatial, C) to y (N, *O, C).

    forward    y_o  = Σ w_oi x_i        i: the nearest position, or the two (in 2 D four, in 3 D eight) around it
    backward   dx_i = Σ w_oi dy_o

        nearest                        the position ⌊o n / O⌋
        nearest-exact                  ⌊(o + ½) n / O⌋
        linear                         between the neighbours of max((o + ½) n / O − ½, 0)
        linear with `align_corners`    between the neighbours of o (n − 1) / (O − 1): corners are preserved

    With two spatial axes "linear" is bilinear, with three trilinear. O = ⌊n · factor⌋; the formulas use 1 / factor in
    place of n / O. A smaller size takes no averages: use `adaptive_average_pool`. Residuals: the shape of x.

    Args:
        factor: O / n, a number > 0 for all spatial axes or one for each. Give either this or `size`.
        size: O, an integer for sequences or one integer for each spatial axis.
        method: "nearest", "nearest-exact" or "linear".
        align_corners: Whether the first and the last output are the first and the last position; for "linear" only.

    Raises:
        ValueError: an argument is not as described; in `init` and `forward`, x has another rank or would become empty.
    """
    check_choice("upsample", "method", method, get_args(Method))
    if check_flag("upsample", "align_corners", align_corners) and method != "linear":
        raise ValueError(f'`upsample` expected `align_corners` with method="linear" only, got method={method!r}.')
    if (factor is None) == (size is None):
        raise ValueError(f"`upsample` expected either `factor` or `size`, got factor={factor!r}, size={size!r}.")
    sizes = None if size is None else check_counts("upsample", "size", (size,) if np.ndim(size) == 0 else size)
    if sizes is not None and len(sizes) not in IMAGES:
        raise ValueError(f"`upsample` expected `size` to be one to three integers, got {shown(size)}.")
    return _upsample(None if factor is None else _check_factor(factor), sizes, method, bool(align_corners))


@functools.cache
def _upsample(factor: float | tuple[float, ...] | None, size: Shape | None, method: Method, align: bool) -> Layer:
    """The cached factory: equal arguments give the same Layer object, so jitted functions of it compile once."""
    rank = len(size) if size else len(factor) if isinstance(factor, tuple) else None

    def init(key, in_shape):
        spatial, channels = check_image_shape("upsample", in_shape, rank or max(1, np.size(in_shape) - 1))
        return (), (*sizes(spatial), channels)

    def forward(params, x):
        x = check_image("upsample", x, rank)
        y = widen(x)
        for axis, taps in by_axis(x.shape[1:-1]):
            y = apply_taps(y, axis, taps)
        return y.astype(x.dtype), x[:0]

    def backward(params, empty, dy):
        spatial, dx = empty.shape[1:-1], widen(dy)
        for axis, taps in reversed(by_axis(spatial)):
            dx = apply_taps(dx, axis, taps.transposed(spatial[axis - 1]))
        return (), dx.astype(dy.dtype)

    def sizes(spatial: Shape) -> Shape:
        factors = factor if isinstance(factor, tuple) else (factor or 1.0,) * len(spatial)
        out = size or tuple(math.floor(n * f) for n, f in zip(spatial, factors, strict=True))
        if min(out) < 1:
            raise ValueError(f"`upsample` expected a `factor` that leaves a position, got {factor} for {spatial}.")
        return out

    def by_axis(spatial: Shape) -> list[tuple[int, Taps]]:
        factors = factor if isinstance(factor, tuple) else (factor,) * len(spatial)
        out = enumerate(zip(spatial, sizes(spatial), factors, strict=True), start=1)
        return [(axis, taps_along(n, o, n / o if f is None else 1 / f, method, align)) for axis, (n, o, f) in out]

    options = {"size": (size, None), "method": (method, "nearest"), "align_corners": (align, False)}
    arguments = call_text(*([] if factor is None else [factor]), **options)
    return Layer("upsample", init, forward, backward, arguments=arguments)


@functools.cache
def taps_along(n: int, o: int, step: float, method: Method, align_corners: bool) -> Taps:
    """What each of O outputs reads of n positions; `step` is the distance of two outputs in positions."""
    which = np.arange(o)
    if method != "linear":
        place = np.floor((which + (0.5 if method == "nearest-exact" else 0.0)) * step).astype(int)
        return Taps.of([{min(int(i), n - 1): 1.0} for i in place])
    step = (n - 1) / (o - 1) if align_corners and o > 1 else 0.0 if align_corners else step
    place = which * step if align_corners else np.maximum((which + 0.5) * step - 0.5, 0.0)
    rows = []
    for position in place.tolist():
        i = min(math.floor(position), n - 1)
        share = min(position - i, 1.0) if i < n - 1 else 0.0
        rows.append({i: 1.0 - share, min(i + 1, n - 1): share} if share else {i: 1.0})
    return Taps.of(rows)


def _check_factor(factor) -> float | tuple[float, ...]:
    """A number > 0, or one for each of one to three axes, or a `ValueError`."""
    several = isinstance(factor, tuple | list)
    factors = tuple(factor) if several else (factor,)
    is_array = lambda f: isinstance(f, int | float | np.generic | np.ndarray | jax.Array)
    is_real = lambda f: any(jnp.issubdtype(getattr(f, "dtype", type(f)), kind) for kind in (jnp.floating, jnp.integer))
    number = lambda f: is_array(f) and is_real(f) and np.ndim(f) == 0
    if len(factors) not in IMAGES or not all(is_concrete(f) and number(f) and 0 < f < 2**31 for f in factors):
        raise ValueError(
            f"`upsample` expected `factor` to be a number > 0, or one for each of one to three spatial axes, "
            f"got {shown(factor)}."
        )
    return tuple(map(float, factors)) if several else float(factor)
