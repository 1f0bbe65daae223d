"""The command `python -m experiments.momentum`."""

import sys

from experiments.momentum.experiment import main

sys.exit(main())
