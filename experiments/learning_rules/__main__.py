"""The command `python -m experiments.learning_rules`."""

import sys

from experiments.learning_rules.experiment import main

sys.exit(main())
