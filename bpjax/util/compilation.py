"""Loops compiled as one function, a cache of programs on disk, and compiler options for programs that run once.

The first two speed up small networks. They are off by default, because they change the whole process; experiments and
`scripts/benchmark.py` turn them on.
"""

import hashlib
import os
import platform
import re
import tempfile
import warnings
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from bpjax.util.call_text import shown
from bpjax.util.checks import check_count, check_number

FLAG = "xla_backend_extra_options"
OPTION = "xla_cpu_small_while_loop_byte_threshold"

FAST_COMPILATION = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""`compiler_options` for programs that run once: a tenth to a third of the compilation time, the same results."""

if jax.__version_info__ < (0, 11):  # newer versions of XLA no longer have this option, and need no such help
    FAST_COMPILATION["xla_cpu_use_fusion_emitters"] = False


def compile_small_loops(threshold: int = 65_536) -> int:
    """Let XLA's CPU backend compile a loop over less than `threshold` bytes as one function.

        import bpjax as bp
        bp.util.compile_small_loops()                # call it first, before any array is made

    Up to JAX 0.11 XLA runs the body of a loop kernel by kernel, at 0.6-1 µs each, unless the body touches less than
    about 1 kB, which is a 2-2-1 network. On-line training and small networks in full batch become two to five times
    faster. Good thresholds are 16,384 to 65,536; with millions, large loops are included and become two to three times
    slower. JAX 0.12 compiles loops of any size as one function; there the threshold is the upper limit.

    XLA reads the setting once, from the environment variable XLA_FLAGS, when its backend starts. Other flags in it
    are kept, and so is a threshold. Child processes inherit it. It has no effect on GPUs and TPUs.

    Args:
        threshold: bytes that the body of a loop reads and writes.

    Returns:
        The threshold in effect: the one given, or the one that XLA_FLAGS already contained.

    Raises:
        ValueError: `threshold` is not an integer ≥ 1.
        RuntimeError: the backend has already started, or XLA_FLAGS names a file, which is not changed.
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
    """XLA's flags with another option for its backends, placed before the existing ones."""
    there = re.search(rf"--{FLAG}=[\"']?", flags)
    if there is None:
        return f"{flags} --{FLAG}={option}".lstrip()
    before, after = flags[: there.end()], flags[there.end() :]
    separator = "," if re.match(r"[^\s\"']", after) else ""
    return f"{before}{option}{separator}{after}"


def backend_has_started() -> bool:
    """Whether JAX has looked for devices: after that it refuses to change their number, which is what this tries."""
    devices = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", 1 if devices != 1 else 2)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", devices)
    return False


def cache_compilations(folder: str | Path | None = None, at_least: float = 0.1) -> Path:
    """Turn on JAX's persistent compilation cache: programs compiled by one process are read by the next.

    A folder that cannot be written to, because the home directory is missing or read-only or the disk is full, is
    replaced by a temporary one, with a warning: a cache saves time, and its absence must not cost a result.

    The key of an entry contains the program, the versions, the flags and the kind of device, but not the processor
    model. Therefore the name of the default folder contains the processor model.

    Args:
        folder: where to store programs; None for the folder that JAX is already configured with
            (JAX_COMPILATION_CACHE_DIR), otherwise one in $XDG_CACHE_HOME/bpjax or ~/.cache/bpjax.
        at_least: seconds of compilation from which on a program is stored.

    Returns:
        The folder.

    Raises:
        ValueError: `at_least` is negative, or `folder` is not a name.
    """
    check_number("cache_compilations", "at_least", at_least, least=0.0)
    if not (folder is None or (isinstance(folder, str | os.PathLike) and str(folder))):
        raise ValueError(f"`cache_compilations` expected `folder` to be the name of a folder, got {shown(folder)}.")
    configured = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    folder = usable_folder(Path(folder or configured or default_folder()))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(at_least))
    compilation_cache.reset_cache()  # otherwise a cache that is already open keeps its folder
    return folder


def usable_folder(folder: Path) -> Path:
    """The folder, made and tried; where nothing can be written to it, a temporary one, with a warning."""
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"bpjax")
            probe.flush()
        return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        reason = f"{type(error).__name__}: {error}"
    try:
        other = Path(tempfile.mkdtemp(prefix="bpjax-compiled-"))
    except OSError:
        other = folder  # JAX warns, and compiles without a cache
    warnings.warn(
        f"`cache_compilations` cannot write to {folder} ({reason}); compiled programs go to {other} for now.",
        stacklevel=3,
    )
    return other


def default_folder() -> Path:
    """A folder for this processor model in the user's cache directory."""
    try:
        kind = re.findall(r"^(?:model name|flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        kind = [platform.processor()]
    processor = hashlib.sha256("\n".join(sorted(set(kind))).encode()).hexdigest()[:12]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches / "bpjax" / f"compiled-{platform.machine()}-{processor}"
