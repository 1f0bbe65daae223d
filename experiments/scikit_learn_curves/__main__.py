"""The command `python -m experiments.scikit_learn_curves`."""

import sys

from experiments.scikit_learn_curves.experiment import main

sys.exit(main())
