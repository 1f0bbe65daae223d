"""Write the generated pages of a folder."""

from collections.abc import Mapping
from pathlib import Path

LIST = ".generated"
"""The file with the names of the pages that were generated in its folder."""


def write_pages(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write pages by name, and delete those of an earlier run that are no longer generated; nothing else is touched.

    A page that has not changed is left alone, so that Sphinx does not read it again.

    Raises:
        ValueError: a page would replace a file that no earlier run has written.
    """
    listed = folder / LIST
    before = set(listed.read_text().splitlines()) if listed.exists() else set()
    for name, text in texts.items():
        file = folder / name
        if name not in before and file.exists() and file.read_text() != text:
            raise ValueError(
                f"Expected to write a new page {file}, got a file that is there. Move it, or choose another folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(sorted(before | texts.keys())) + "\n")
    for name in before - texts.keys():
        (folder / name).unlink(missing_ok=True)
    for name, text in texts.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    listed.write_text("\n".join(sorted(texts)) + "\n")
    return [folder / name for name in texts]
