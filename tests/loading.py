"""The experiments as modules: they are scripts in a folder that is no package."""

import importlib
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def load_experiment(name):
    """The module of experiments/<name>.py, which may import its neighbours, as it may when it is run."""
    if str(EXPERIMENTS) not in sys.path:
        sys.path.insert(0, str(EXPERIMENTS))
    return importlib.import_module(name)
