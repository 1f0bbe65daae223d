"""The texts of the page in several languages: a file `words/CODE.json` is a language."""

import json
from functools import cache
from importlib.resources import files

from bpjax.util.call_text import shown

FOLDER = files("bpjax.teaching.lesson").joinpath("words")


@cache
def languages() -> tuple[str, ...]:
    """The codes of the languages, such as "en"."""
    return tuple(sorted(entry.name.removesuffix(".json") for entry in FOLDER.iterdir() if entry.name.endswith(".json")))


def words(language: str) -> dict[str, str]:
    """{key: text} of a language; every language has the same keys.

    Raises:
        ValueError: there is no such language.
    """
    if not isinstance(language, str) or language not in languages():
        raise ValueError(f"`lesson` expected `language` to be one of {', '.join(languages())}, got {shown(language)}.")
    return json.loads(FOLDER.joinpath(f"{language}.json").read_text(encoding="utf-8"))
