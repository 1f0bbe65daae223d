"""The spiking neuron as a loop in NumPy, and the gradient of the surrogate model by central differences.

The surrogate model of a run replaces every spike by S(z) + (y − S(z₀)), z₀ and y those of the run: its value is the
spike train, its derivative the surrogate. Where a library does not differentiate the reset, the spikes of the reset
are those of the run. No line is shared with the code under test.
"""

import numpy as np


def soft(z, k):
    """A smooth step, 1 / (1 + e^(−k z))."""
    return 1 / (1 + np.exp(-k * z))


def run(params, x, model, base=None):
    """Spikes (N, T, H) and a record of the run.

    Args:
        params: dict of w, and of v, membrane, synapse, threshold (the time constants, not their logarithms).
        x: (N, T, D).
        model: dict of reset, order, differentiate, hard, k, refractory (steps), kappa, tau_a, adapted.
        base: the record of the run whose surrogate model is meant; None for the run itself.
    """
    n, steps, _ = x.shape
    h = params["w"].shape[1]
    alpha, beta = np.exp(-1 / params["synapse"]), np.exp(-1 / params["membrane"])
    theta, kappa, rho = params["threshold"], model.get("kappa", 0.0), np.exp(-1 / model.get("tau_a", 1.0))
    i, u, a, left, y = (np.zeros((n, h)) for _ in range(5))
    out, zs, ys = [], [], []

    def emit(t):
        z = u - theta - kappa * a
        if not model["hard"]:
            s = soft(z, model["k"])
        elif base is None:
            s = (z > 0).astype(float)
        else:
            s = (base["z"][t] > 0) + soft(z, model["k"]) - soft(base["z"][t], model["k"])
        s = np.where(left > 0, 0, s)
        zs.append(z), ys.append(s)
        return s

    for t in range(steps):
        if model["order"] != "current-potential-spike":
            y = emit(t)
            out.append(y)
        late = model["order"] == "current-potential-spike"
        fired = y if base is None or (late and t == 0) else base["y"][t - late]
        old = i
        i = alpha * i + x[:, t] @ params["w"] + (y @ params["v"] if "v" in params else 0)
        drive = old if model["order"] == "spike-potential-current" else i
        r = y if model["differentiate"] else fired
        level = theta + (kappa * a if model.get("adapted") else 0)
        early = model["reset"] in ("zero_before_leak", "subtract_before_leak")
        start = {"zero_before_leak": u * (1 - r), "subtract_before_leak": u - level * r}.get(model["reset"], u)
        new = beta * start + drive
        if model["reset"] == "zero_after_leak":
            new = new * (1 - r)
        if model["reset"] == "subtract_after_leak":
            new = new - level * r
        refractory = model.get("refractory", 0)
        waits = (left > 0) | ((fired > 0.5) & early & (refractory > 0))
        left = np.where(fired > 0.5, refractory - early if refractory else 0, np.maximum(left - 1, 0))
        u, a = np.where(waits, start, new), rho * a + y
        if model["order"] == "current-potential-spike":
            y = emit(t)
            out.append(y)
    return np.stack(out, axis=1), {"z": zs, "y": ys}


def gradient(params, x, dy, model, step=1e-5):
    """The central differences of ⟨dy, y⟩ of the surrogate model, by name; time constants by their logarithms."""
    _, base = run(params, x, model)
    value = lambda p, x: float(np.sum(dy * run(p, x, model, base)[0]))
    logs = ("membrane", "synapse")
    found = {}
    for name, array in {**params, "x": x}.items():
        grad = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] = moved[index] * np.exp(sign * step) if name in logs else moved[index] + sign * step
                ends.append(value({**params, name: moved}, x) if name != "x" else value(params, moved))
            grad[index] = (ends[0] - ends[1]) / (2 * step)
        found[name] = grad
    return found
