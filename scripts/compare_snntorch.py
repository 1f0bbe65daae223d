"""Compare spiking neurons with snnTorch in float64: potentials, spikes, gradients, and every surrogate derivative.

snnTorch and PyTorch are no dependencies of bpjax:

    pip install --target /some/folder snntorch torch
    PYTHONPATH=.:/some/folder python scripts/compare_snntorch.py

Prints one line for each comparison, and exits with 1 where a relative difference is above 1e-10.
"""

# pyright: reportMissingImports=false

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import snntorch
import snntorch.surrogate
import torch

import bpjax as bp

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)
LIMIT = 1e-10
RNG = np.random.default_rng(0)
X = RNG.normal(0.3, 1.0, (5, 30, 4))
W = RNG.normal(0.0, 0.8, (4, 6))
DY = RNG.normal(size=(5, 30, 6))
BETA, ALPHA, THETA = np.linspace(0.5, 0.95, 6), 0.7, np.linspace(0.6, 1.2, 6)


class FastSigmoid(torch.autograd.Function):
    """snnTorch's `fast_sigmoid` in the dtype of its input: theirs returns float32 spikes, and so float32 gradients."""

    @staticmethod
    def forward(ctx, u):
        """1 where u > 0."""
        ctx.save_for_backward(u)
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, dy):
        """du = dy / (5 |u| + 1)²."""
        (u,) = ctx.saved_tensors
        return dy / (5 * u.abs() + 1) ** 2


def theirs(reset: str, synapse: bool):
    """Spikes and the gradients of W, x, β and θ by PyTorch."""
    w, x = (torch.tensor(array, requires_grad=True) for array in (W, X))
    options = {
        "threshold": torch.tensor(THETA), "learn_threshold": True, "learn_beta": True, "reset_mechanism": reset,
        "spike_grad": FastSigmoid.apply,
    }  # fmt: skip
    beta = torch.tensor(BETA)
    layer = snntorch.Synaptic(ALPHA, beta, **options) if synapse else snntorch.Leaky(beta, **options)
    state = [torch.zeros(5, 6) for _ in range(2 if synapse else 1)]
    spikes = []
    for t in range(30):
        spike, *state = layer(x[:, t] @ w, *state)
        spikes.append(spike)
    y = torch.stack(spikes, dim=1)
    (y * torch.tensor(DY)).sum().backward()
    return {"y": y, "w": w.grad, "x": x.grad, "beta": layer.beta.grad, "threshold": layer.threshold.grad}


def ours(convention, synapse: bool):
    """The same by hand; dβ from dln τ: β = e^(−1/τ), so dβ = dln τ / (β/τ)."""
    tau = -1 / np.log(BETA)
    cell = bp.layers.leaky_integrate_and_fire(
        6, tau, -1 / math.log(ALPHA) if synapse else 0.0, threshold=THETA, fire=bp.layers.spike(5.0),
        convention=convention, learnt=("membrane", "threshold"),
    )  # fmt: skip
    layer = bp.unroll(cell)
    params = bp.layers.Spiking(jnp.asarray(W), None, jnp.log(tau), None, jnp.asarray(THETA))
    y, residuals = layer.forward(params, jnp.asarray(X))
    dparams, dx = layer.backward(params, residuals, jnp.asarray(DY))
    return {
        "y": y, "w": dparams.w, "x": dx, "beta": dparams.log_membrane / (BETA / tau), "threshold": dparams.threshold
    }  # fmt: skip


SURROGATES = {
    "fast sigmoid": (bp.layers.spike(25.0), snntorch.surrogate.fast_sigmoid(25)),
    "sigmoid": (bp.layers.spike(25.0, "sigmoid"), snntorch.surrogate.sigmoid(25)),
    "arctan": (bp.layers.spike(2.0, "arctan"), snntorch.surrogate.atan(2.0)),
    "straight-through": (bp.layers.spike(1.0, "straight-through"), snntorch.surrogate.straight_through_estimator()),
    "triangular": (bp.layers.spike(1.0, "triangular"), snntorch.surrogate.triangular(1.0)),
}


def slopes(ours, theirs, u):
    """S′(u) by both."""
    at = torch.tensor(u, requires_grad=True)
    theirs(at).sum().backward()
    return np.asarray(ours.backward((), jnp.asarray(u), jnp.ones(len(u)))[1]), at.grad.numpy()


def difference(a, b) -> float:
    """‖a − b‖ / ‖b‖."""
    a, b = np.asarray(a), b.detach().numpy() if isinstance(b, torch.Tensor) else np.asarray(b)
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1))


def main() -> int:
    """The lines, and the exit status."""
    worst = 0.0
    for reset in ("subtract", "zero", "none"):
        for synapse in (False, True):
            zero = "zero_after_leak" if synapse else "zero_before_leak"  # "zero" is two resets in snnTorch
            name = {"subtract": "subtract_after_leak", "zero": zero, "none": "none"}[reset]
            convention = bp.layers.Convention(name, "current-potential-spike")
            found, truth = ours(convention, synapse), theirs(reset, synapse)
            rows = {key: difference(found[key], truth[key]) for key in found}
            worst = max(worst, *rows.values())
            kind = "Synaptic" if synapse else "Leaky"
            print(
                f"{kind:8} {reset:8} = {name:19}",
                *(f"{k} {v:.0e}" for k, v in rows.items()),
                f"{int(found['y'].sum())} spikes",
            )
    u = np.array([-3.0, -0.9, -0.2, -0.01, 0.02, 0.4, 1.5, 4.0])
    for name, pair in SURROGATES.items():
        a, b = slopes(*pair, u)
        far = slopes(*pair, np.array([-40.0, 40.0]))[1]
        print(f"surrogate {name:17} difference {difference(a, b):.0e}; snnTorch at ±40: {far}")
        worst = max(worst, difference(a, b) if name != "triangular" else 0.0)
    print(f"largest relative difference {worst:.0e} (triangular left out: snnTorch's is a sign, not a triangle)")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
