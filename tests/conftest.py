"""Strict numerics for every test: float64, no silent rank promotion, full matmul precision."""

import itertools
import os
import re
import shutil
import tempfile

import jax
import pytest
from browser import browser  # noqa: F401  (a fixture)
from xdist.scheduler import LoadScopeScheduling

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_configure(config):
    """Choose the tests, and how their programs are compiled and shared."""
    leave_out_thorough_tests(config)
    compile_quickly()
    if not hasattr(config, "workerinput"):
        share_compiled_programs(config)


class ByFile(LoadScopeScheduling):
    """The tests of a file run in one process, which compiles their programs once; those of test_layers.py by layer."""

    def _split_scope(self, nodeid):
        file, _, test = nodeid.partition("::")
        case = re.fullmatch(r"\w+\[(?:b?float\d\d-)?(.*)\]", test)
        return case[1] if case and file.endswith("tests/layers/test_layers.py") else file


def pytest_xdist_make_scheduler(config, log):
    """In place of `loadgroup`, which groups nothing under pytest 9.2 (pytest-xdist#1386)."""
    return ByFile(config, log)


def leave_out_thorough_tests(config):
    """Without a path or a marker run all but the tests marked `thorough`; worker processes read the same arguments."""
    if not config.option.markexpr and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.option.markexpr = "not thorough"


def compile_quickly():
    """Without most optimizations: about half the time for small programs that run once, which most of the tests are."""
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for the processes that tests start
    jax.config.update("jax_disable_most_optimizations", True)


def pytest_collection_modifyitems(items):
    """Mark the tests of whole experiments and of audits of all rules."""
    for item in items:
        if item.path.relative_to(item.config.rootpath).parts[1] in ("experiments", "audit"):
            item.add_marker(pytest.mark.thorough)


def share_compiled_programs(config):
    """One temporary folder of compiled programs for the worker processes and the processes that tests start.

    A folder that the caller names stays. Two processes may write one entry at once; JAX then compiles again, with a
    warning that `filterwarnings` ignores.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="bpjax-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    jax.config.update("jax_compilation_cache_dir", folder)  # this process has read its variables already
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


TESTS_RUN = itertools.count(1)
MAPPINGS = 8_000  # Linux allows 65,530 per process; a worker then uses about 2 GB of memory, with 20,000 mappings 5 GB


def many_programs(tests_run) -> bool:
    """Whether this process holds more memory mappings than that; without /proc, whether 100 more tests have run."""
    if tests_run % 20:
        return False
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps) > MAPPINGS
    except OSError:
        return tests_run % 100 == 0


@pytest.fixture(autouse=True)
def few_programs():
    """Clear the compiled programs now and then: XLA fails when a process holds many thousands of them."""
    yield
    if many_programs(next(TESTS_RUN)):
        jax.clear_caches()


@pytest.fixture
def keys():
    """An iterator of fresh keys; no key is used twice."""
    return map(jax.random.fold_in, itertools.repeat(jax.random.key(20261123)), itertools.count())


@pytest.fixture
def float32():
    """JAX's default dtype, float32, as a user has it."""
    with jax.enable_x64(False):
        yield


@pytest.fixture
def as_a_user_runs_it(float32):
    """JAX's defaults: float32 and its own rules of promotion."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def optimized(monkeypatch):
    """JAX's default compilation, as a user has it, in this process and in those that the test starts."""
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
