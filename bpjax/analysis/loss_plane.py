"""The error on a plane of weights through the path of a training."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.rules.backprop import backprop
from bpjax.rules.rule import check_batch, check_made_of
from bpjax.types import Batch, Key, Params
from bpjax.util.checks import check_arguments, check_choice, check_count, check_key, check_number, check_real
from bpjax.util.extras import require_extra


class LossPlane(NamedTuple):
    """The error E(a, b) at the weights w = origin + a d₁ + b d₂, and the path of a training in this plane."""

    a: np.ndarray  # (A,)
    b: np.ndarray  # (B,)
    error: np.ndarray  # (B, A)
    path: np.ndarray  # (T, 2) coordinates of the projections of the path's weights
    share: float  # of the path's squared distances from its end, within the plane; NaN for a path that stands still
    origin: Params  # the last weights of the path
    directions: tuple[Params, Params]  # d₁ and d₂

    def __repr__(self) -> str:
        return f"<loss plane {len(self.b)} × {len(self.a)} through {len(self.path)} weights, share {self.share:.1%}>"

    def plot(self, axis=None):
        """Draw contours of the error, and the path.

        Args:
            axis: a Matplotlib axis; made if None.

        Raises:
            ModuleNotFoundError: Matplotlib is missing; the message names the extra to install.
        """
        with require_extra("Figures are drawn by Matplotlib"):
            import matplotlib.pyplot as plt
        axis = plt.subplots(figsize=(3.5, 3), layout="constrained")[1] if axis is None else axis
        shown = np.ma.masked_invalid(self.error)
        filled = axis.contourf(self.a, self.b, shown, levels=20, cmap="cividis")
        axis.figure.colorbar(filled, ax=axis, label="error E")
        axis.plot(*self.path.T, ".-", color="white", markersize=3, linewidth=1)
        axis.plot(*self.path[-1], "o", color="white", markersize=5)
        axis.set(xlabel="a", ylabel="b", title=f"{self.share:.1%} of the path is in this plane")
        axis.title.set_fontsize(9)
        return axis.figure


def loss_plane(
    network: Layer,
    loss: Loss,
    path: Params,
    data: Batch,
    *,
    normalization: Literal["filter", "none"] = "filter",
    key: Key | None = None,
    points: int = 25,
    margin: float = 0.25,
) -> LossPlane:
    """Compute the error on a plane through the weights of a training (Li et al., NeurIPS 2018).

        fit = bp.fit(rule, optimizer, params, data, key=key, watch={"params": lambda run: run.params})
        plane = bp.analysis.loss_plane(network, loss, fit.history.watched["params"], data)
        plane.plot()

    With filter normalisation, a weight is measured in units of the norm s of its group at the end of the path: a group
    is a column of a dense matrix or a kernel of a convolution (all weights into one unit), or a whole vector such as
    the biases of a layer. So the plane does not depend on how a relu network distributes its scale over its layers. A
    group that is 0 at the end is measured by its largest norm along the path.

        uₜ = (wₜ − w_T) / s        V: the first two right singular vectors of the rows uₜ        dₖ = s ⊙ vₖ
        share = Σₜ ‖uₜ Vᵀ‖² / Σₜ ‖uₜ‖²

    The principal directions show most of a path; note that the path of any random walk looks smooth in them. In two
    random directions (`key`) almost nothing of a path is seen, which `share` says.

    Args:
        network: of the training.
        loss: compares its output with the target.
        path: weights with a leading axis (T,) on every leaf, T ≥ 3, such as what `fit` returns for a `watch`.
        data: (x, target).
        normalization: "filter", or "none" for the plain weights.
        key: for two random directions of normally distributed entries; by default the principal ones.
        points: A = B, along each axis.
        margin: beyond the path on each side, as a share of its extent.

    Raises:
        ValueError: `path` is not a pytree of real arrays with a common leading axis of 3 or more, weights and data do
            not fit the network, or an unknown normalization.
    """
    who = "loss_plane"
    check_made_of(who, network, loss)
    check_choice(who, "normalization", normalization, ("filter", "none"))
    check_count(who, "points", points, least=2)
    check_number(who, "margin", margin, least=0.0)
    path = _checked_path(who, path)
    origin = jax.tree.map(lambda leaf: leaf[-1], path)
    data = check_batch(who, backprop(network, loss), origin, data)
    scales = jax.tree.map(_group_norms if normalization == "filter" else _ones, origin, path)
    u = _rows(path, origin, scales)
    v = _principal(u) if key is None else _random(check_key(who, "key", key), u.shape[1])
    coordinates = np.linalg.lstsq(v.T, u.T, rcond=None)[0].T
    total = float(np.sum(u**2))
    share = float(np.sum((coordinates @ v) ** 2)) / total if total else np.nan
    directions = tuple(_as_params(row, origin, scales) for row in v)
    a, b = (_grid(along, points, margin) for along in coordinates.T)
    error = _errors(network, loss, data, origin, directions, a, b)
    return LossPlane(a, b, error, coordinates, share, origin, directions)


def _checked_path(who: str, path) -> Any:
    """The path as NumPy arrays, or a `ValueError`."""
    check_arguments(who, path, "`path`")
    check_real(who, "path", path)
    path = jax.tree.map(np.asarray, path)
    lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(path)}
    if len(lengths) != 1 or lengths == {()} or min(lengths)[0] < 3:
        raise ValueError(
            f"`{who}` expected `path` with a common leading axis of 3 or more on every leaf, got "
            f"{sorted(lengths) or 'no arrays'}. Stack the weights: `jax.tree.map(lambda *w: jnp.stack(w), *weights)`."
        )
    return path


def _group_norms(origin: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The norm of the group of each weight, in the shape of the leaf."""
    axes = tuple(range(max(origin.ndim - 1, 1))) if origin.ndim else ()
    at_end = np.sqrt(np.sum(np.asarray(origin, np.float64) ** 2, axis=axes, keepdims=True))
    shifted = tuple(axis + 1 for axis in axes)
    largest = np.sqrt(np.sum(np.asarray(along, np.float64) ** 2, axis=shifted, keepdims=True)).max(axis=0)
    return np.broadcast_to(np.where(at_end > 0, at_end, largest), origin.shape)


def _ones(origin: np.ndarray, along: np.ndarray) -> np.ndarray:
    return np.ones(origin.shape)


def _rows(path, origin, scales) -> np.ndarray:
    """(T, P) the weights relative to the last ones, in units of the scales; 0 where a group is always 0."""

    def scaled(along, end, scale):
        moved = np.asarray(along, np.float64) - np.asarray(end, np.float64)
        return np.divide(moved, scale, out=np.zeros_like(moved), where=scale > 0).reshape(len(moved), -1)

    return np.concatenate(jax.tree.leaves(jax.tree.map(scaled, path, origin, scales)), axis=1)


def _principal(u: np.ndarray) -> np.ndarray:
    """(2, P) the first two right singular vectors, with the sign of their largest entry positive."""
    v = np.linalg.svd(u, full_matrices=False)[2][:2]
    if len(v) < 2:
        raise ValueError("`loss_plane` expected a network with at least two weights, got one.")
    return v * np.sign(v[np.arange(2), np.abs(v).argmax(axis=1)])[:, None]


def _random(key: Key, size: int) -> np.ndarray:
    """(2, P) two random directions of length 1."""
    v = np.asarray(jax.random.normal(key, (2, size)), np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def _as_params(row: np.ndarray, origin, scales):
    """s ⊙ v in the structure of the params."""
    leaves, structure = jax.tree.flatten(origin)
    parts = np.split(row, np.cumsum([leaf.size for leaf in leaves])[:-1])
    sized = [
        (part.reshape(leaf.shape) * scale).astype(leaf.dtype)
        for part, leaf, scale in zip(parts, leaves, jax.tree.leaves(scales), strict=True)
    ]
    return structure.unflatten(sized)


def _grid(along: np.ndarray, points: int, margin: float) -> np.ndarray:
    low, high = along.min(), along.max()
    extent = (high - low) or 1.0
    return np.linspace(low - margin * extent, high + margin * extent, points)


def _errors(network: Layer, loss: Loss, data: Batch, origin, directions, a, b) -> np.ndarray:
    """(B, A) the error at each point; NaN and infinities stay."""
    x, target = data

    @jax.jit
    def all_errors(origin, directions, places):
        def error(place):
            w = jax.tree.map(lambda w, d1, d2: w + place[0] * d1 + place[1] * d2, origin, *directions)
            return loss.value(network.forward(w, x)[0], target)

        return jax.lax.map(error, places, batch_size=16)

    places = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    dtype = jnp.result_type(*jax.tree.leaves(origin))
    return np.asarray(all_errors(origin, directions, jnp.asarray(places, dtype))).reshape(len(b), len(a))
