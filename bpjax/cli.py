"""The command line: `bpjax compare`, `bpjax lesson`, …; each command is a module of the room that it belongs to."""

import argparse

import bpjax
from bpjax.gradcheck import command as compare
from bpjax.sweeps import plot_command as plot
from bpjax.sweeps import progress_command as progress
from bpjax.teaching.exercises import command as exercise
from bpjax.teaching.lesson import command as lesson

COMMANDS = (compare, exercise, lesson, plot, progress)
"""Modules with `add(commands)`, which adds a parser, and `run(options)`, which returns the exit status."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bpjax", description="Hand-written backpropagation, compared with jax.grad.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"bpjax {bpjax.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(argv)
    options.as_program = argv is None
    return options.run(options)
