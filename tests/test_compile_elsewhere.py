"""`scripts/compile_elsewhere.py`: programs for CUDA and TPU, made without either."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch, float32):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("compile_elsewhere")


@pytest.mark.parametrize("group", ["tape", "devices"])
def test_a_sample_is_lowered_for_cuda_and_tpu(script, group):
    chosen = list(script.GROUPS[group]())
    assert len(chosen) >= 3
    assert [(p.name, said) for p in chosen if (said := script.said(lambda p=p: script.lower(p))) != "ok"] == []


def test_a_step_on_several_devices_is_lowered_for_four(script):
    step, *_ = script.GROUPS["devices"]()
    lowered = script.lower(step)
    assert lowered.platforms == ("cuda", "tpu")
    assert lowered.nr_devices == 4


def test_what_is_refused_is_a_row_with_its_reason(script):
    back = lambda x: jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((3,), jnp.float32), x)
    refused = script.Program("tape", "callback", back, (jax.ShapeDtypeStruct((3,), jnp.float32),))
    result = script.attempt(refused, [])
    assert not result.ok
    text = script.shown([result], markdown=True)
    assert "| tape | callback |" in text and "callback" in result.lowered
    assert text.endswith("tape: 0 of 1 ok")


def test_without_libtpu_a_sentence_names_the_extra(script, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert script.main(["--only", "tape"]) == 2
    assert capsys.readouterr().err == (
        "TPU programs are compiled by libtpu, which is not installed. Install it: pip install 'bpjax[tpu-compile]'. "
        "Or lower only: --lower.\n"
    )


@pytest.mark.thorough
def test_a_sample_is_compiled_for_a_tpu():
    pytest.importorskip("libtpu", reason="libtpu is not installed: pip install 'bpjax[tpu-compile]'")
    words = ("tape", "devices", "dense(3)", "backprop", "quickprop", "sweep in lanes")
    command = [sys.executable, str(SCRIPTS / "compile_elsewhere.py"), "--only", *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "devices: 4 of 4 ok" in result.stdout
