"""The command `python -m experiments.learning_speed`."""

import sys

from experiments.learning_speed.experiment import main

sys.exit(main())
