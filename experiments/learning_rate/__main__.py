"""The command `python -m experiments.learning_rate`."""

import sys

from experiments.learning_rate.experiment import main

sys.exit(main())
