"""The entry point of `python -m experiments.<name>`."""

import importlib
import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C, by convention 128 + SIGINT."""


def start(name: str) -> None:
    """Run the experiment `name` with the arguments of this process, and exit with its status.

    The experiment is imported here, so that a missing package and a Ctrl-C during the imports end in one line.
    """
    try:
        main = importlib.import_module(f"experiments.{name}.experiment").main
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] in ("", "bpjax", "experiments"):
            raise  # a mistake in the code, not a missing package
        sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(main())
