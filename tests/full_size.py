"""Whether tests run at full size: `BPJAX_FULL=1`. The gate runs them at a reduced one."""

import os

import pytest

FULL = bool(os.environ.get("BPJAX_FULL"))
at_full_size = pytest.mark.skipif(not FULL, reason="runs with BPJAX_FULL=1")
