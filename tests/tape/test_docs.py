"""The printed tapes in docs/tape.md are those that the code prints."""

import contextlib
import io
import linecache
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tape.md"
BLOCKS = re.findall(r"```python\n((?:(?!```).)*)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


@pytest.mark.parametrize(("code", "printed"), BLOCKS, ids=range(len(BLOCKS)))
def test_printed_output(code, printed, as_a_user_runs_it):
    """Words and signs are the same, numbers within 0.1 %: JAX's functions differ in the last digit."""
    linecache.cache["docs/tape.md"] = len(code), None, code.splitlines(keepends=True), "docs/tape.md"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/tape.md", "exec"), {"__name__": "__main__"})
    del linecache.cache["docs/tape.md"]
    assert re.sub(r"─+|\s+", " ", NUMBER.sub("#", out.getvalue())) == re.sub(r"─+|\s+", " ", NUMBER.sub("#", printed))
    found, expected = (np.array(NUMBER.findall(text), float) for text in (out.getvalue(), printed))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
