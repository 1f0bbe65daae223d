"""Run a Python file of the user as `python FILE` would, and give its names.

The file finds its neighbours, `if __name__ == "__main__"` does not hold, nothing is written beside it, and whatever it
does (an exception, `sys.exit`) becomes a `FileError` with one sentence.
"""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType


class FileError(ValueError):
    """A file that cannot be checked. The message says why; `shown` is the traceback of the file's own code, if any."""

    def __init__(self, message: str, shown: str = ""):
        """A sentence, and the traceback to print above it."""
        super().__init__(message)
        self.shown = shown


def split_reference(reference: str) -> tuple[Path, str | None]:
    """The file and the name in `FILE` or `FILE::name`.

    Raises:
        FileError: the name is empty, or there is no such Python file.
    """
    path, separator, name = reference, "", ""
    if not Path(reference).exists():
        path, separator, name = reference.rpartition("::")
        if not separator:
            path = reference
    if separator and not name.strip():
        raise FileError(f"`{reference}` expected the name of a function after `::`, got none.")
    file = Path(path)
    if file.is_dir():
        raise FileError(f"Expected a Python file, got the directory {path}. Name one of its files.")
    if not file.is_file():
        raise FileError(f"Expected a Python file, found none at {path or reference}.")
    if file.suffix == ".ipynb":
        raise FileError(
            f"{path} is a notebook. Write the function, `gradient` and `arguments` to a .py file, or call "
            "`bpjax.check_gradient` in the notebook."
        )
    return file, name.strip() if separator else None


@contextlib.contextmanager
def running(file: Path) -> Iterator[ModuleType]:
    """The module that a file defines; its neighbours can be imported until the end.

    Raises:
        FileError: the file raises an exception or exits.
    """
    modules, path = set(sys.modules), list(sys.path)
    before = sys.dont_write_bytecode, sys.argv, os._exit
    sys.dont_write_bytecode, sys.argv, os._exit = True, [str(file)], _exit_of_process(os.getpid(), os._exit)
    try:
        yield _execute(file)
    finally:
        sys.dont_write_bytecode, sys.argv, os._exit = before
        sys.path[:] = path
        folder = str(file.resolve().parent)
        for name in set(sys.modules) - modules:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


def _exit_of_process(process: int, exit_at_once: Callable) -> Callable:
    """`os._exit` that cannot end the check with another status; processes that the file starts keep theirs."""

    def leave(status):
        if os.getpid() != process:
            exit_at_once(status)
        raise SystemExit(status)

    return leave


def _execute(file: Path) -> ModuleType:
    """Import a file under a name that no other module has."""
    full = file.resolve()
    with errors_of(file):
        name, root = _module_name(full)
        sys.path.insert(0, str(root))
        package = name.rpartition(".")[0]
        if package:
            importlib.import_module(package)
        else:
            sys.path.extend(map(str, _package_roots(full)))
        spec = importlib.util.spec_from_file_location(name, full, loader=SourceFileLoader(name, str(full)))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def errors_of(file: Path) -> Iterator[None]:
    """Turn whatever the code of a file raises into a `FileError`."""
    try:
        yield
    except (FileError, KeyboardInterrupt):
        raise
    except SystemExit as stop:
        advice = 'Put the exit under `if __name__ == "__main__":`.'
        raise FileError(f"{file} exits with status {stop.code!r} before it is checked. {advice}") from None
    except BaseException as error:  # noqa: BLE001  (anything that a user's file raises)
        kind = type(error).__name__
        article = "an" if kind[:1].lower() in "aeiou" else "a"
        raise FileError(f"{file} raised {article} {kind} before it was checked.", own_traceback(error, file)) from None


def own_traceback(error: BaseException, file: Path) -> str:
    """The traceback of an exception from the first line of a file on."""
    names = {str(file), str(file.resolve())}
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename not in names:
        frames = frames.tb_next
    if frames is None:  # a syntax error: the file has no frame yet
        return "".join(traceback.format_exception_only(error)).rstrip()
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


def last_own_line(error: BaseException, folder: Path) -> tuple[str, int, str] | None:
    """(file name, line, function) of the last line within a folder that an exception went through."""
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith(str(folder)):
            found = Path(frame.filename).name, frame.lineno or 0, frame.name
    return found


# --- The name of the module ------------------------------------------------------------------------------------------


def _module_name(file: Path) -> tuple[str, Path]:
    """The module's name, and the folder to import from: the file's own, or that of its package if it needs one."""
    levels = _relative_imports(file)
    if not levels:
        return _free_name(file.stem), file.parent
    depth = max(levels, len(_package_roots(file)))
    parts = (*file.parts[-1 - depth : -1], file.stem)
    return ".".join(parts), file.parents[depth]


def _relative_imports(file: Path) -> int:
    """The most dots in `from ... import`."""
    nodes = ast.walk(ast.parse(file.read_bytes(), str(file)))
    return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)


def _package_roots(file: Path) -> list[Path]:
    """The folders above each package that the file is in, from the inside out."""
    roots = []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
        roots.append(folder)
    return roots


def _free_name(stem: str) -> str:
    """A module name that hides no other module."""
    name = re.sub(r"\W", "_", stem) or "file"
    taken = name in sys.modules
    with contextlib.suppress(ImportError, ValueError):
        taken = taken or importlib.util.find_spec(name) is not None
    return f"{name}_file" if taken else name
