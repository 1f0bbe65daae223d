"""The figures and pages of an experiment, drawn from its stored result: by the experiment itself, and by `bpjax plot`.

Each experiment has a function `figures(config, folder)`, {name: function that draws it}, which reads what is stored in
the folder and nothing else, and maybe `pages(config, folder)`, {name: function that writes it to a path}.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import matplotlib

from bpjax.results.plots import Look, current_look, finish, looking
from bpjax.results.plots.look import PAGE

ConfigType = TypeVar("ConfigType")
DPI = 150
"""Of the PNG files, and of maps in SVG files."""


def figures_and_pages(name: str, folder: Path, record: dict) -> tuple[dict[str, Callable], dict[str, Callable]]:
    """The figures and pages of a stored result.

    Args:
        name: of the experiment.
        folder: of the result.
        record: of the result, with the settings that it was made with.
    """
    module = importlib.import_module(f"experiments.{name}.experiment")
    config = config_of(module.Config, record["config"])
    return module.figures(config, folder), module.pages(config, folder) if hasattr(module, "pages") else {}


def config_of(config_type: type[ConfigType], data: Mapping[str, Any]) -> ConfigType:
    """Settings from the data of a record; a field that the record lacks has its default."""
    defaults = {field.name: field.default for field in fields(config_type)}  # type: ignore[arg-type]
    values = {}
    for name, value in data.items():
        if name in defaults:
            kind = type(defaults[name])
            values[name] = (
                kind(value) if kind in (tuple, float) else Path(value) if isinstance(defaults[name], Path) else value
            )
    return config_type(**values)


def write_figures(folder: Path, drawn: Mapping[str, Callable], look: Look | None = None) -> None:
    """Draw figures and write each as PNG and SVG.

    Args:
        folder: to write into.
        drawn: {name: function that draws it}.
        look: by default that of a page's width.
    """
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with looking(look or Look(width=PAGE)):
        for name, draw in drawn.items():
            figure = draw()
            finish(figure)
            figure.savefig(folder / f"{name}.png", dpi=DPI)
            figure.savefig(folder / f"{name}.svg", dpi=DPI, metadata={"Date": None})
            plt.close(figure)


def is_narrow() -> bool:
    """Whether figures are drawn for one column instead of a page."""
    return current_look().width < 5.5
