"""`bpjax progress`: how far a stored sweep is."""

import argparse
import sys


def add(commands) -> None:
    """Add the command and its options to the subparsers of `bpjax`."""
    parser = commands.add_parser(
        "progress",
        help="how far a stored sweep is",
        description="Say how many runs of a stored sweep are there, who computes what, and what is left of each part.",
        allow_abbrev=False,
    )
    parser.add_argument("store", help="the folder of a stored sweep")
    parser.add_argument("--parts", type=int, default=1, metavar="N", help="into how many the sweep is divided")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Say how far a stored sweep is; 0 where it is complete, 1 where runs are missing, 2 where there is none."""
    from bpjax.sweeps.store_progress import store_progress

    try:
        found = store_progress(options.store, options.parts)
    except (ValueError, ModuleNotFoundError) as error:
        print(f"bpjax progress: {error}", file=sys.stderr)
        return 2
    print(found)
    return 0 if found.complete.all() else 1
