"""The folder of sweeps over a structure: a file that marks it as ours, and one stored sweep for each combination."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from bpjax.sweeps.record_file import ASIDE
from bpjax.util.files import write_file

Label = int | float | bool | str

STRUCTURE = "structure.json"
"""The file that marks the folder: the names of the dimensions, and whether their labels are texts or numbers."""
LONGEST = 240
"""Characters of a folder's name that every file system has room for."""


def label_text(label: Label) -> str:
    """A label as part of a folder's name: 2 and 2.0 as "2"; characters that a file system may refuse as %XX."""
    if isinstance(label, str):
        return quote(label, safe=" +-_.()")
    is_integer = not isinstance(label, bool) and float(label).is_integer()
    return json.dumps(int(label) if is_integer else label)


def folder_of(parent: str | Path, labels: Mapping[str, Label]) -> Path:
    """The folder of one combination, such as "width=2,activation=tanh".

    Raises:
        ValueError: its name would be too long.
    """
    name = ",".join(f"{dim}={label_text(label)}" for dim, label in labels.items())
    if len(name) > LONGEST:
        raise ValueError(f"`sweep_over` expected shorter labels: the name of a folder would be {name!r}.")
    return Path(parent) / name


def prepare_folder(parent: str | Path, choices: Mapping[str, Mapping[Label, object]]) -> None:
    """Mark a new or empty folder as one of sweeps over these dimensions, or check the mark that it has.

    Raises:
        ValueError: the folder holds something else, or sweeps over other dimensions, or cannot be written.
    """
    parent = Path(parent)
    kinds = {dim: kind_of(next(iter(labels))) for dim, labels in choices.items()}
    there = dimensions(parent)
    if there is None:
        if parent.exists() and (not parent.is_dir() or any(not is_unfinished(entry) for entry in parent.iterdir())):
            raise ValueError(
                f"{parent} holds something that is not a sweep over a structure: choose another folder for `store`."
            )
        write_file(parent / STRUCTURE, (json.dumps({"bpjax": "sweeps", "structure": kinds}, indent=2) + "\n").encode())
    elif there != kinds:
        raise ValueError(
            f"{parent} holds sweeps over {described(there)}, and this one is over {described(kinds)}: choose another "
            "folder for `store`."
        )
    for labels in choices.values():  # before hours of training
        folder_of(parent, dict.fromkeys(choices, max(labels, key=lambda label: len(label_text(label)))))


def kind_of(label: Label) -> str:
    """The kind of a label: text, boolean or number."""
    return "text" if isinstance(label, str) else "boolean" if isinstance(label, bool) else "number"


def described(kinds: Mapping[str, str]) -> str:
    """Dimensions for a sentence: "width (number), activation (text)"."""
    return ", ".join(f"{dim} ({kind})" for dim, kind in kinds.items())


def is_unfinished(entry: Path) -> bool:
    """Whether an entry of a folder is a mark that a process is writing, or was when it was killed."""
    return entry.name.startswith(ASIDE)


def dimensions(parent: str | Path) -> dict[str, str] | None:
    """The dimensions of a folder of sweeps over a structure and the kinds of their labels; None for another folder.

    Raises:
        ValueError: the mark is damaged.
    """
    mark = Path(parent) / STRUCTURE
    if not mark.is_file():
        return None
    try:
        kinds = json.loads(mark.read_text(encoding="utf-8"))["structure"]
        if kinds and set(kinds.values()) <= {"text", "boolean", "number"}:
            return kinds
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(
        f"{mark} is damaged, or not that of a sweep over structure. Stored sweeps beside it can be opened one by one; "
        'to join them write it again, for example {"structure": {"width": "number", "activation": "text"}}.'
    )


def combinations_in(parent: str | Path) -> Iterator[tuple[tuple[Label, ...], Path]]:
    """(labels, folder) of each combination that a folder holds; entries of other names are ignored."""
    kinds = dimensions(parent) or {}
    for folder in sorted(Path(parent).iterdir()):
        parts = [part.split("=", 1) for part in folder.name.split(",")]
        if folder.is_dir() and [part[0] for part in parts] == list(kinds) and all(len(part) == 2 for part in parts):
            try:
                yield tuple(unquote(t) if kinds[d] == "text" else json.loads(t) for d, t in parts), folder
            except ValueError:
                continue
