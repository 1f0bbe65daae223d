"""The two compilation settings, in separate processes: they change a whole process, and only before its first array."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import pytest
from full_size import at_full_size

from bpjax.util.compilation import (
    backend_has_started,
    cache_compilations,
    compile_small_loops,
    default_folder,
    usable_folder,
    with_option,
)
from bpjax.util.precision import cast

OPTION = "xla_cpu_small_while_loop_byte_threshold"
FLAG = "--xla_backend_extra_options"


def python(code: str, **environment: str) -> str:
    """The output of a new process in which warnings are errors."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", f"{FLAG}={OPTION}=5"),
        ("--xla_dump_to=/x", f"--xla_dump_to=/x {FLAG}={OPTION}=5"),
        (f"{FLAG}=a=1,b=2 --xla_dump_to=/x", f"{FLAG}={OPTION}=5,a=1,b=2 --xla_dump_to=/x"),
        (f"--xla_dump_to=/x {FLAG}=", f"--xla_dump_to=/x {FLAG}={OPTION}=5"),
        (f"{FLAG}= --xla_dump_to=/x", f"{FLAG}={OPTION}=5 --xla_dump_to=/x"),
        (f"{FLAG}='a=1' --xla_dump_to=/x", f"{FLAG}='{OPTION}=5,a=1' --xla_dump_to=/x"),
        (f'{FLAG}=""', f'{FLAG}="{OPTION}=5"'),
    ],
)
def test_the_option_is_added_to_the_existing_ones(flags, expected):
    assert with_option(flags, f"{OPTION}=5") == expected


LOOP = """
    step = lambda w, _: (w - 0.1 * jnp.tanh(w * jnp.roll(w, 1)), None)
    loop = jax.jit(lambda w: jax.lax.scan(step, w, None, length=9)[0])
    print("xla_cpu_small_call" in loop.lower(jnp.ones((40, 40))).compile().as_text())
"""


def loop_after(code: str, **environment: str) -> str:
    """The output of a process that runs `code` and a loop over 6.4 kB; "True" at the end if as one function."""
    return python("import jax, jax.numpy as jnp\n" + textwrap.dedent(code) + textwrap.dedent(LOOP), **environment)


@pytest.mark.thorough
def test_a_loop_over_kilobytes_becomes_one_function_below_the_threshold():
    assert loop_after("import bpjax.util.compilation as s; print(s.compile_small_loops())") == "65536\nTrue"
    assert loop_after("import bpjax.util.compilation as s; print(s.compile_small_loops(2000))") == "2000\nFalse"


@pytest.mark.thorough
@at_full_size
def test_existing_flags_are_kept():
    ask = "import bpjax.util.compilation as s; print(s.compile_small_loops())"
    assert loop_after(ask, XLA_FLAGS=f"{FLAG}={OPTION}=1500") == "1500\nFalse"
    assert loop_after(ask, XLA_FLAGS=f"{FLAG}=xla_cpu_another=1 --xla_cpu_enable_fast_math=false") == "65536\nTrue"
    two = "import os, bpjax.util.compilation as s; s.compile_small_loops(); print(s.compile_small_loops(7))"
    assert loop_after(two) == "65536\nTrue"


def test_after_the_first_array_it_raises(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    jax.block_until_ready(jnp.ones(3))
    before = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    assert backend_has_started()
    with pytest.raises(RuntimeError, match=rf"before JAX's back end starts.*XLA_FLAGS={FLAG}={OPTION}=4096"):
        compile_small_loops(4096)
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert jax.config.jax_num_cpu_devices == before  # type: ignore[attr-defined]


@pytest.mark.thorough
def test_backend_has_started_does_not_start_it():
    code = """
        import jax
        from bpjax.util.compilation import backend_has_started
        {first}
        print(backend_has_started(), backend_has_started(), jax.config.jax_num_cpu_devices)
        jax.devices()
        print(backend_has_started(), len(jax.devices()))
    """
    assert python(code.format(first="")) == "False False -1\nTrue 1"
    assert python(code.format(first="jax.config.update('jax_num_cpu_devices', 1)")) == "False False 1\nTrue 1"


def test_bad_input_raises(monkeypatch):
    with pytest.raises(ValueError, match="`threshold` to be an integer ≥ 1, got 0"):
        compile_small_loops(0)
    monkeypatch.setenv("XLA_FLAGS", "/etc/flags")
    with pytest.raises(RuntimeError, match="the name of a file, '/etc/flags'"):
        compile_small_loops()
    with pytest.raises(ValueError, match="`at_least`"):
        cache_compilations("somewhere", at_least=-1)


CACHED = """
    import jax, jax.numpy as jnp
    from bpjax.util.compilation import cache_compilations
    {first}
    print(cache_compilations({arguments}))
    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if "cache_hits" in event else None)
    print(jax.jit(lambda a: jnp.tanh(a) @ a)(jnp.ones((3, 3))).sum(), bool(hits))
"""


ANOTHER = "cache_compilations('{}', at_least=0); jax.jit(jnp.cos)(jnp.ones(3))"


@pytest.mark.thorough
@pytest.mark.parametrize("first", ["", "jnp.sin(jnp.ones(3))", ANOTHER], ids=["at first", "late", "after another"])
def test_a_second_process_reads_what_the_first_has_compiled(tmp_path, first):
    folder = tmp_path / "new" / "cache"
    code = CACHED.format(first=first.format(tmp_path / "another"), arguments=f"{str(folder)!r}, at_least=0")
    one, two = python(code), python(code)
    assert one.splitlines()[0] == str(folder) and any(folder.iterdir())
    assert one.endswith("False") and two.endswith("True") and one.split()[1] == two.split()[1]


@pytest.mark.thorough
def test_a_configured_folder_is_kept_and_the_default_names_the_processor(tmp_path, monkeypatch):
    code = CACHED.format(first="", arguments="")
    assert python(code, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine")).splitlines()[0] == str(tmp_path / "mine")
    assert python(code, XDG_CACHE_HOME=str(tmp_path)).splitlines()[0].startswith(str(tmp_path / "bpjax" / "compiled-"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = default_folder()
    monkeypatch.setattr("pathlib.Path.read_text", lambda _: "model name : another\nflags : sse")
    assert default_folder() != here


def test_a_folder_that_cannot_be_written_to_is_replaced_by_a_temporary_one(tmp_path):
    with pytest.warns(UserWarning, match="cannot write to .* compiled programs go to"):
        other = usable_folder(tmp_path / "file" / "below" if (tmp_path / "file").write_text("x") else tmp_path)
    assert other.is_dir() and tmp_path not in other.parents
    assert usable_folder(tmp_path / "new") == tmp_path / "new" and list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("dtype", [int, "word", None, True, (), jnp.int32])
def test_cast_takes_floating_point_types_alone(dtype):
    with pytest.raises(ValueError, match="`cast` expected `dtype` to be a floating-point type"):
        cast({"w": jnp.ones(2)}, dtype)
    with pytest.raises(ValueError, match=r"`cast` expected `tree` of arrays and numbers, got 'word' at \['w'\]"):
        cast({"w": "word"}, "float32")
