"""The nonlinear problems: a ship in a current, an orbit, two slides of shortest time, a flight of longest range."""

import jax.numpy as jnp
import numpy as np

from experiments.optimal_control.methods import Problem

ORBIT_THRUST, ORBIT_FLOW, ORBIT_TIME = 0.1405, 0.0749, 3.32
"""Thrust, mass flow and duration in units in which the sun's gravity, the first radius and the mass are 1."""
RANGE_THRUST, RANGE_GRAVITY, RANGE_TIME, RANGE_HEIGHT = 0.5, 1.0, 2.0, 0.1


def zermelo() -> Problem:
    """A ship of speed V = 1 in the current −y: from a point to the origin in the shortest time (Bryson & Ho, 2.7)."""

    def dynamics(data, s, u):
        y, theta = s[:, 1], u[:, 0]
        return jnp.stack([jnp.cos(theta) - y, jnp.sin(theta)], axis=1)

    start = np.array([zermelo_start(np.radians(105), np.radians(240))])
    return Problem(
        "Zermelo's ship", dynamics, lambda p, s: p.final_time, lambda p, s: s, (2,),
        start, np.zeros((1, 0)), np.array([4.0]), True,
        lambda sigma: np.full_like(sigma, np.radians(153)), 0.001, 0.003, 10.0,
    )  # fmt: skip


def zermelo_start(first: float, last: float) -> tuple[float, float]:
    """Where the ship starts whose steering angle goes from `first` to `last`, in closed form.

    Along the best path tan θ = tan θ₀ + t and y = sec θ − sec θ_f, so dx = (sec θ − sec³ θ + sec θ_f sec² θ) dθ.
    """

    def antiderivative(angle):
        sec, tan = 1 / np.cos(angle), np.tan(angle)
        return 0.5 * np.log(abs(sec + tan)) - 0.5 * sec * tan + tan / np.cos(last)

    return antiderivative(first) - antiderivative(last), 1 / np.cos(first) - 1 / np.cos(last)


def orbit() -> Problem:
    """The largest circular orbit that a solar-electric craft reaches in a given time (Bryson & Ho, pp. 66-69).

    The state is (radius, radial speed, tangential speed, mass), the control the angle of thrust above the horizontal.
    """

    def dynamics(data, s, u):
        r, out, along, mass = s.T
        angle, push = u[:, 0], ORBIT_THRUST / mass
        return jnp.stack([
            out, along**2 / r - 1 / r**2 + push * jnp.sin(angle), -out * along / r + push * jnp.cos(angle),
            jnp.full_like(r, -ORBIT_FLOW),
        ], axis=1)  # fmt: skip

    def constraints(p, s):
        return jnp.stack([s[:, 1], s[:, 2] - 1 / jnp.sqrt(s[:, 0])], axis=1)

    return Problem(
        "Orbit raising", dynamics, lambda p, s: -s[:, 0], constraints, (4,), np.array([[1.0, 0, 1, 1]]),
        np.zeros((1, 0)), np.array([ORBIT_TIME]), False, lambda sigma: 2 * np.pi * sigma, 0.03, 0.0, 10.0,
    )  # fmt: skip


def brachistochrones() -> Problem:
    """The slide of shortest time from rest to a point `across` and `down`; the control is the angle to the vertical."""

    def dynamics(data, s, u):
        v, theta = s[:, 2], u[:, 0]
        return jnp.stack([v * jnp.sin(theta), v * jnp.cos(theta), data["gravity"] * jnp.cos(theta)], axis=1)

    data = {"gravity": np.array([9.80665, 9.8]), "target": np.array([[10.0, 5.0], [2.0, 2.0]])}
    return Problem(
        "Brachistochrones", dynamics, lambda p, s: p.final_time,
        lambda p, s: s[:, :2] - p.params["target"], (3,), np.zeros((2, 3)), data, np.array([2.0, 1.0]), True,
        lambda sigma: np.full_like(sigma, np.radians(45)), 0.003, 0.003, 1.0,
    )  # fmt: skip


def longest_range() -> Problem:
    """The longest range from rest with thrust a along the path and lift across it (Bryson's maximum range)."""

    def dynamics(data, s, u):
        v, gamma = s[:, 2], u[:, 0]
        return jnp.stack(
            [v * jnp.cos(gamma), v * jnp.sin(gamma), RANGE_THRUST - RANGE_GRAVITY * jnp.sin(gamma)], axis=1
        )

    return Problem(
        "Longest range", dynamics, lambda p, s: -s[:, 0], lambda p, s: s[:, 1:2] - RANGE_HEIGHT, (3,),
        np.zeros((1, 3)), np.zeros((1, 0)), np.array([RANGE_TIME]), False,
        lambda sigma: np.radians(-60 + 120 * sigma), 0.01, 0.0, 10.0,
    )  # fmt: skip


def turning(sigma) -> np.ndarray:
    """A first guess of the longest range that turns backward: it leads Newton's method to another extremal."""
    return np.radians(-30 + 210 * sigma)
