"""`python -m bpjax`, the same as the command `bpjax`."""

import sys

from bpjax.cli import main

sys.exit(main())
