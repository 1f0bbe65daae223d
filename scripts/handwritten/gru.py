"""A step of a GRU with a readout; loss and gradient by the weights and the state."""
import jax
import jax.numpy as jnp


def sigmoid(a):
    return 1 / (1 + jnp.exp(-a))


def function(params, h, x):
    z = sigmoid(x @ params["wz"] + h @ params["uz"])
    r = sigmoid(x @ params["wr"] + h @ params["ur"])
    reset = r * h
    candidate = jnp.tanh(x @ params["wh"] + reset @ params["uh"])
    carried = (1 - z) * h
    written = z * candidate
    h_next = carried + written
    return 0.5 * jnp.sum(h_next**2)


def gradient(params, h, x):
    z = sigmoid(x @ params["wz"] + h @ params["uz"])
    r = sigmoid(x @ params["wr"] + h @ params["ur"])
    candidate = jnp.tanh(x @ params["wh"] + (r * h) @ params["uh"])
    dh_next = (1 - z) * h + z * candidate
    dz = dh_next * (candidate - h)
    dcandidate = dh_next * z
    dh = dh_next * (1 - z)
    da = dcandidate * (1 - candidate**2)
    dreset = da @ params["uh"].T
    dr = dreset * h
    dh = dh + dreset * r
    daz = dz * z * (1 - z)
    dar = dr * r * (1 - r)
    dh = dh + daz @ params["uz"].T
    dh = dh + dar @ params["ur"].T
    grads = {
        "wz": x.T @ daz, "wr": x.T @ dar, "wh": x.T @ da,
        "uz": h.T @ daz, "ur": h.T @ dar, "uh": (r * h).T @ da,
    }
    return grads, dh


keys = jax.random.split(jax.random.key(6), 8)
shapes = {"wz": (2, 3), "wr": (2, 3), "wh": (2, 3), "uz": (3, 3), "ur": (3, 3), "uh": (3, 3)}
params = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items())}
arguments = (params, jax.random.normal(keys[6], (5, 3)), jax.random.normal(keys[7], (5, 2)))
