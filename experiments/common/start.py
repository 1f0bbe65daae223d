"""The entry point of `python -m experiments.<name>`."""

import ast
import importlib
import re
import sys
from pathlib import Path

INTERRUPTED = 130
"""Exit status after Ctrl-C, by convention 128 + SIGINT."""


def start(name: str) -> None:
    """Run the experiment `name` with the arguments of this process, and exit with its status.

    The experiment is imported here, so that a missing package and a Ctrl-C during the imports end in one line. The
    imports take seconds; before them a line says what the experiment asks and how long it takes.
    """
    try:
        if not {"-h", "--help"} & set(sys.argv):
            say(announcement(name, sys.argv[1:]))
        main = importlib.import_module(f"experiments.{name}.experiment").main
    except ModuleNotFoundError as missing:
        if (missing.name or "").split(".")[0] in ("", "bpjax", "experiments"):
            raise  # a mistake in the code, not a missing package
        sys.exit(f"{missing.name} is not installed. Install what experiments need: pip install 'bpjax[experiments]'.")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(main())


def announcement(name: str, flags: list[str]) -> str:
    """The question of an experiment and the duration of this run, from its docstring, which is not imported.

    Args:
        name: of the experiment.
        flags: of its command; the duration is known with and without `--quick`.
    """
    source = Path(__file__).parents[1] / name / "experiment.py"
    if not source.exists():
        return ""
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    runs = dict(re.findall(rf"^ +python -m experiments\.{name}(| --quick)  +(.+)$", text, re.MULTILINE))
    quick = " --quick" if "--quick" in flags and " --quick" in runs else ""
    others = [flag for flag in flags if flag.startswith("--") and flag not in ("--quick", "--out", "--seed")]
    return f"{text.splitlines()[0]}\n{'With the default settings: ' if others else ''}{runs.get(quick, '')}."


def say(text: str) -> None:
    """Print to a terminal of any encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)
