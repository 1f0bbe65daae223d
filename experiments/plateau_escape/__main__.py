"""The command `python -m experiments.plateau_escape`."""

import sys

from experiments.plateau_escape.experiment import main

sys.exit(main())
