"""`bpjax plot`: draw any stored result again."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bpjax.results.plots.look import COLUMN, PAGE, Look, looking
from bpjax.results.plots.panels import finish
from bpjax.results.plots.words import LANGUAGES
from bpjax.results.record import write_record, written_aside

FORMATS = ("pdf", "svg", "png", "html")
EPILOG = f"""STORE is one of
  the folder of an experiment's result     results/momentum
  the folder of a stored sweep             bp.sweep(..., store="results/xor")
  a dataset that you saved                 result.to_zarr("xor.zarr"), NetCDF

examples:
  bpjax plot results/xor                   PDF and SVG, {COLUMN:g} inches, 8 points
  bpjax plot results/xor --list            name the figures and draw nothing
  bpjax plot results/xor --select momentum=0.9
                                           curves with intervals, not a map
  bpjax plot results/xor --width {PAGE:g} --dark --format png
                                           for slides
  bpjax plot results/xor --language de --words mine.json
                                           {{"momentum": "Trägheit"}}

The figures are written into a new folder, with a record of how they were made.
A folder that holds anything else is never replaced.

exit status: 0 drawn, 2 STORE or an option cannot be used, 130 interrupted"""


def add(commands) -> None:
    """Add the command and its options to the subparsers of `bpjax`."""
    parser = commands.add_parser(
        "plot",
        help="draw the figures of a stored result again",
        description="Draw the figures of a stored result again, in the size, font, language and\n"
        "colours that you need.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    default = Look()
    parser.add_argument("store", metavar="STORE", help="a stored result: see below")
    parser.add_argument("--out", metavar="FOLDER", help="where to write (default: figures/NAME-OF-STORE)")
    parser.add_argument("--figure", action="append", metavar="NAME", help="only this figure; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the figures and draw nothing")
    look = parser.add_argument_group("look")
    look.add_argument(
        "--format", nargs="+", choices=FORMATS, default=["pdf", "svg"], metavar="F",
        help="pdf, svg, png, or html for an interactive page (default: pdf svg)",
    )  # fmt: skip
    look.add_argument(
        "--width",
        type=float,
        default=default.width,
        metavar="INCHES",
        help=f"of a figure (default: {COLUMN:g}, a column)",
    )
    look.add_argument("--font-size", type=float, default=default.font_size, metavar="POINTS", help="(default: 8)")
    look.add_argument(
        "--font", default=default.font, metavar="NAME", help=f"an installed font (default: {default.font})"
    )
    look.add_argument("--language", default="en", metavar="CODE", help=f"of the text: {' or '.join(LANGUAGES)}")
    look.add_argument("--words", metavar="FILE", help='JSON with translations, {"English": "yours"}, which come first')
    look.add_argument(
        "--colours", default=default.colour_map, metavar="MAP", help="Matplotlib's name (default: cividis)"
    )
    look.add_argument("--dark", action="store_true", help="light lines on a dark background")
    look.add_argument("--dpi", type=int, default=300, metavar="N", help="of PNG and of maps (default: 300)")
    sweeps = parser.add_argument_group("sweeps")
    sweeps.add_argument("--x", metavar="NAME", help="the hyperparameter across (default: learning_rate)")
    sweeps.add_argument("--y", metavar="NAME", help="the hyperparameter upwards")
    sweeps.add_argument("--select", action="append", default=[], metavar="NAME=VALUE", help="one value of an axis")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Draw; 0 if it is done, 2 where the store or an option cannot be used, 130 after Ctrl-C."""
    try:
        for line in lines(options):
            print(line)
    except (ValueError, ModuleNotFoundError, OSError) as error:
        print(f"bpjax plot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bpjax plot: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def lines(options: argparse.Namespace) -> Iterator[str]:
    """Draw what the options ask for; what to print, line by line."""
    from bpjax.sweeps.plot_store import drawable

    look = look_of(options)
    found = drawable(options.store, options.x, options.y, options.select)
    names = chosen(found.figures, options.figure)
    if options.list:
        yield f"{options.store}: {found.what}"
        yield from (f"  {name}" for name in found.figures)
        return
    out = Path(options.out or Path("figures") / (Path(options.store).resolve().stem or "store"))
    with written_aside(out) as folder:
        vectors = [form for form in options.format if form != "html"]
        if vectors:
            draw({name: found.figures[name] for name in names}, look, folder, vectors, options.dpi)
        if "html" in options.format:
            for name, write in found.pages.items():
                write(folder / f"{name}.html")
        write_record(
            folder, look._asdict() | {"words": dict(look.words)}, drawn_from=str(Path(options.store).resolve())
        )
        files = sorted(path for path in folder.iterdir() if path.suffix.lstrip(".") in FORMATS)
        sizes = [(path.name, path.stat().st_size) for path in files]
    yield f"{options.store}: {found.what}"
    yield from (f"  {out / name}  {size / 1000:,.0f} kB" for name, size in sizes)


def look_of(options: argparse.Namespace) -> Look:
    """The look that the options describe."""
    words: dict = {}
    if options.words:
        try:
            words = json.loads(Path(options.words).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{options.words} cannot be read as JSON ({error}).") from None
        if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
            raise ValueError(f'{options.words} expected one table of texts, {{"epoch": "Epoche"}}.')
    if not 20 <= options.dpi <= 2400:
        raise ValueError(f"expected `--dpi` from 20 to 2400, got {options.dpi}.")
    look = Look(options.width, options.font_size, options.font, options.language, words, options.colours, options.dark)
    with looking(look):  # which refuses what cannot be drawn, before anything is written
        return look


def chosen(figures: dict, asked: list[str] | None) -> list[str]:
    """The names of the figures to draw."""
    if unknown := [name for name in asked or [] if name not in figures]:
        raise ValueError(f"expected `--figure` to be one of {', '.join(figures)}, got {unknown[0]!r}.")
    return asked or list(figures)


def draw(figures: dict, look: Look, folder: Path, formats: list[str], dpi: int) -> None:
    """Draw figures and write them into a folder.

    Args:
        figures: {name: function that draws it}.
        look: in which they are drawn.
        folder: to write into.
        formats: "pdf", "svg", "png".
        dpi: dots per inch of PNG files and of maps inside vector files.
    """
    with looking(look):
        import matplotlib

        matplotlib.use("Agg", force=False)
        import matplotlib.pyplot as plt

        for name, draws in figures.items():
            figure = draws()
            finish(figure)
            for form in formats:
                dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
                figure.savefig(folder / f"{name}.{form}", dpi=dpi, metadata=dates)
            plt.close(figure)
