"""Kill a writer of results at each of its file-system events, and check what it leaves. Run by `test_record.py`.

Python reports most of these events to audit hooks before they happen. `os._exit` in the hook ends the process there,
without `finally` and without flushing, as SIGKILL does. Exchanges of folders, writes and locks have no such event:
they are wrapped. Each child is a fork of this process, in which nothing but the imports has happened.

    python tests/results/killed_writer.py FOLDER

prints one line of JSON, for a system that exchanges two folders in one step and for one that renames twice: the kills,
how often the new result stood there, how often `recover` had to put a result back, and faults.
"""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message=r"os\.fork\(\)")  # JAX's threads have not started

from bpjax.results import record, replace, seal  # noqa: E402

EVENTS = (
    "open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "os.chmod", "os.truncate",
    "shutil.rmtree", "fcntl.flock",
)  # fmt: skip
FILES = {"numbers.csv": 3, "data.zarr/zarr.json": 1, "data.zarr/c/0": 2}
KILLED = 77


def write(folder, text):
    """A result of several files and folders, as an experiment writes one."""
    with record.written_aside(folder) as aside:
        for name, copies in FILES.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (aside / name).write_text(text * copies)
        (aside / seal.MARK).write_text(json.dumps({"config": text}))


def holds(folder, text):
    """Whether `folder` is the complete result of `write(folder, text)`."""
    files = {name for name, _ in seal.entries(folder)} if folder.is_dir() else set()
    is_whole = files == {*FILES, seal.MARK} and seal.foreign(folder) is None
    return is_whole and all((folder / name).read_text() == text * copies for name, copies in FILES.items())


def die_at(number):
    """End this process at its event `number`, counted from now."""
    left = number

    def event(*_):
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(KILLED)

    def hook(name, arguments):
        if name in EVENTS:
            event()

    def wrapped(function, after=False):
        def call(*arguments, **options):
            event()
            result = function(*arguments, **options)
            if after:
                event()
            return result

        return call

    sys.addaudithook(hook)
    os.write, os.fsync = wrapped(os.write), wrapped(os.fsync)
    replace.exchange = wrapped(replace.exchange, after=True)


def killed_at(number, folder):
    """Write "new" in a child that dies at this event; whether it has died."""
    child = os.fork()
    if child == 0:
        die_at(number)
        write(folder, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def kill_everywhere(root, how):
    """Kill a writer at its first, second, … event until it ends before; what was found after each."""
    if how == "renames":
        replace.exchange = lambda one, other: False
    kills, new, recovered, faults = 0, 0, 0, []
    for number in range(1, 10_000):
        folder = root / f"{how}-{number}" / "result"
        write(folder, "old")
        if not killed_at(number, folder):
            return {"kills": kills, "new": new, "recovered": recovered, "faults": faults}
        kills += 1
        if not folder.exists() and how == "renames":
            record.check_replaceable(folder)
            recovered += 1
        new += holds(folder, "new")
        if not (holds(folder, "old") or holds(folder, "new")):
            faults.append(f"event {number}: neither result is complete")
        write(folder, "next")
        if not holds(folder, "next") or sorted(p.name for p in folder.parent.iterdir()) != ["result"]:
            faults.append(f"event {number}: then {sorted(p.name for p in folder.parent.iterdir())}")


if __name__ == "__main__":
    print(json.dumps({how: kill_everywhere(Path(sys.argv[1]), how) for how in ("exchange", "renames")}))
