"""Training on several devices, of one process or of several, is training on one."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import many_devices
import pytest
from full_size import FULL, at_full_size
from oracles import relative_error
from passes import quick_jit

ROOT = Path(__file__).parents[2]
CHECKS = ("gradients", "fit", "shard_map", "batch_norm_in_shard_map", "tensor_parallel", "refused")


class Ended(NamedTuple):
    code: int
    results: dict
    messages: str
    at: float  # when it ended


def run(processes: int, *checks, devices: int = 1) -> list[Ended]:
    """Run the checks in some processes, each with some devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "JAX_ENABLE_X64": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }  # fmt: skip
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = [[sys.executable, many_devices.__file__, processes, index, port, *checks] for index in range(processes)]
    running = [
        subprocess.Popen(
            list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for command in arguments
    ]
    try:
        return [ended(process) for process in reversed(running)][::-1]
    finally:
        for process in running:
            process.kill()


def ended(process) -> Ended:
    output, messages = process.communicate(timeout=240)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return Ended(process.returncode, json.loads(lines[-1]) if lines else {}, messages, time.monotonic())


def check(results):
    """The results of all checks, whatever the devices."""
    check_gradients(results)
    check_tensor_parallel(results)
    difference, progress, everywhere = results["fit"]
    assert difference < 1e-14
    assert progress < 0.5
    assert everywhere
    assert results["shard_map"] < 1e-14
    assert max(results["batch_norm_in_shard_map"]) < 1e-14
    not_finite = "`fit` expected finite numbers in `x`, got nan at index (0, 1) (8 of 24 entries)"
    assert results["refused"]["not finite"].startswith(not_finite)


def check_gradients(results):
    assert max(results["gradients"].values()) < 1e-14


def check_tensor_parallel(results):
    errors, divided = results["tensor_parallel"]
    assert max(errors.values()) < 1e-14
    assert divided  # the gradient lies where the weights lie


def test_four_devices_of_one_process():
    (process,) = run(1, *CHECKS, "by_share", devices=4)
    assert process.code == 0, process.messages
    check(process.results)
    assert min(process.results["by_share"].values()) > 1e-3  # statistics and noise of a share are others
    refused = process.results["refused"]
    assert "`shard` expected a multiple of 4 examples along the first axis" in refused["indivisible"]
    assert "got float64[7, 2]. Leave out the last examples" in refused["indivisible"]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The results of all checks in two processes, and at full size a file with those of every rule."""
    file = tmp_path_factory.mktemp("rules") / "results"
    first, _ = run(2, *CHECKS, *[f"every_rule={file}"] * FULL)
    assert first.code == 0, first.messages
    return first.results, file


@pytest.mark.thorough
def test_two_processes(two_processes):
    results, _ = two_processes
    check(results)
    refused = results["refused"]
    assert refused["unequal"].startswith(
        "`shard` expected the same number of examples, shapes and dtypes in every process, got float64[4, 2] in "
        "process 0 and something else in [1]. Leave out the last examples"
    )
    assert refused["other values"].startswith("`replicate` expected the same values in every process, got others for")


@pytest.mark.thorough
@at_full_size
def test_every_rule_in_two_processes(two_processes):
    """Value, gradient and next state are those of one device."""
    _, file = two_processes
    found = pickle.loads(file.read_bytes())
    expected = jax.device_get(quick_jit(many_devices.all_rules)(many_devices.drawn_starts()))
    errors = {name: relative_error(found[name], expected[name]) for name in expected}
    difference_of_errors = errors.pop("weight perturbation"), errors.pop("symmetric weight perturbation")
    assert max(difference_of_errors) < 1e-11  # nearly equal errors lose digits where they are subtracted
    assert {name: error for name, error in errors.items() if error > 1e-14} == {}


@pytest.mark.thorough
def test_the_other_process_ends_when_one_is_killed():
    survivor, killed = run(2, "killed")
    assert killed.code == -signal.SIGKILL
    assert survivor.code != 0
    assert "Gloo all-reduce failed" in survivor.messages
    assert "Task 1 heartbeat timeout" in survivor.messages
    assert survivor.at - killed.at < many_devices.HEARTBEAT + 10


@pytest.mark.thorough
@at_full_size
def test_four_processes():
    """The weights are divided between two processes and the examples between two pairs of processes."""
    first, *_ = run(4, "gradients", "tensor_parallel")
    assert first.code == 0, first.messages
    check_gradients(first.results)
    check_tensor_parallel(first.results)
