"""The kind of device on which runs are computed, as a store records it for each chunk."""

import numpy as np

DEVICE_BYTES = 64
"""Bytes of the text in a store."""


def device_kind(device) -> str:
    """The model of a device: of a CPU as the system names it, as JAX says "cpu" of all.

    Args:
        device: of JAX.
    """
    if device.platform != "cpu":
        return device.device_kind
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="ignore") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return device.device_kind


def encoded(device: str, earlier: str) -> np.ndarray:
    """Kinds of devices as bytes of UTF-8 (DEVICE_BYTES,); `earlier` are those of runs that were there before."""
    kinds = dict.fromkeys([kind for kind in (*earlier.split("; "), device) if kind])
    text = "; ".join(kinds).encode()[:DEVICE_BYTES]
    return np.frombuffer(text.ljust(DEVICE_BYTES, b"\0"), np.uint8)


def decoded(text: np.ndarray) -> str:
    """The text that `encoded` wrote."""
    return np.asarray(text, np.uint8).tobytes().rstrip(b"\0").decode(errors="ignore")
