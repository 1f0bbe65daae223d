"""Two switches of XLA that small networks gain by: loops compiled as one function, and programs kept between processes.

Both are off until asked for: they change the whole process, which is not a library's to decide. Experiments and
`scripts/benchmark.py` turn them on.
"""

import hashlib
import os
import platform
import re
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from bpjax.util.checks import check_count, check_number

FLAG = "xla_backend_extra_options"
OPTION = "xla_cpu_small_while_loop_byte_threshold"


def compile_small_loops(threshold: int = 65_536) -> int:
    """Let XLA's CPU back end compile a loop over less than `threshold` bytes as one function.

        import bpjax as bp
        bp.util.compile_small_loops()                # first of all: before any array is made

    Up to JAX 0.11 it runs the body kernel by kernel, at 0.6-1 µs each, unless the body touches less than about 1 kB: a
    2-2-1 network. Training on-line, example by example, and small networks in full batch gain two to five times. 16,384
    to 65,536 is right; with millions large loops would be taken too, and run two to three times slower. JAX 0.12
    takes loops of any size by itself; there this is where it ends.

    XLA reads it once, from the environment variable XLA_FLAGS, when its back end starts. What stands there stays, a
    threshold too. Processes started by this one inherit it. It says nothing to GPUs and TPUs.

    Args:
        threshold: bytes that the body of a loop reads and writes.

    Returns:
        The threshold that holds: the one given, or one that XLA_FLAGS had already.

    Raises:
        ValueError: `threshold` is not an integer ≥ 1.
        RuntimeError: it is too late, or XLA_FLAGS names a file, which is not written to.
    """
    check_count("compile_small_loops", "threshold", threshold)
    flags = os.environ.get("XLA_FLAGS", "")
    set_already = re.search(rf"\b{OPTION}=(\d+)", flags)
    if set_already:
        return int(set_already[1])
    if flags.strip() and not flags.lstrip().startswith("-"):
        raise RuntimeError(
            f"`compile_small_loops` expected flags in XLA_FLAGS, got the name of a file, {flags.strip()!r}. "
            f"Add this to the file: --{FLAG}={OPTION}={threshold}"
        )
    if backend_has_started():
        raise RuntimeError(
            "`compile_small_loops` expected to be called before JAX's back end starts, which it did with the first "
            "array or the first look at the devices. Call it first of all, or start Python with "
            f"XLA_FLAGS=--{FLAG}={OPTION}={threshold}"
        )
    os.environ["XLA_FLAGS"] = with_option(flags, f"{OPTION}={threshold}")
    return threshold


def with_option(flags: str, option: str) -> str:
    """XLA's flags with one more option for its back ends, put before those that are there."""
    there = re.search(rf"--{FLAG}=[\"']?", flags)
    if there is None:
        return f"{flags} --{FLAG}={option}".lstrip()
    before, after = flags[: there.end()], flags[there.end() :]
    separator = "," if re.match(r"[^\s\"']", after) else ""
    return f"{before}{option}{separator}{after}"


def backend_has_started() -> bool:
    """Whether JAX has looked for devices: from then on it refuses to change their number, which tells it."""
    devices = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", 1 if devices != 1 else 2)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", devices)
    return False


def cache_compilations(folder: str | Path | None = None, at_least: float = 0.1) -> Path:
    """Keep compiled programs in a folder: what one process has compiled, the next only reads.

    JAX's persistent compilation cache. Its entries know the program, the versions, the flags and the kind of device,
    but not the processor, so that the folder that is taken by default has its name from that.

    Args:
        folder: where to; None for the one JAX has been told already (JAX_COMPILATION_CACHE_DIR), else one below
            $XDG_CACHE_HOME/bpjax or ~/.cache/bpjax.
        at_least: seconds that a program must have taken to compile to be worth a file.

    Returns:
        The folder.

    Raises:
        ValueError: `at_least` is negative.
        OSError: the folder cannot be made.
    """
    check_number("cache_compilations", "at_least", at_least, least=0.0)
    told = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    folder = Path(folder or told or own_folder()).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(at_least))
    compilation_cache.reset_cache()  # else one that has used another folder stays with that
    return folder


def own_folder() -> Path:
    """A folder for this kind of processor among the user's caches."""
    try:
        kind = re.findall(r"^(?:model name|flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        kind = [platform.processor()]
    processor = hashlib.sha256("\n".join(sorted(set(kind))).encode()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return caches / "bpjax" / f"compiled-{platform.machine()}-{processor}"
