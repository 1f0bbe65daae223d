"""Measure how many single mistakes in the code the tests catch: plant them one by one and run the tests on each.

A mistake is one changed expression of one line: a sign, a missing factor, a dropped term, a transposed product, a wrong
axis, an index off by one. Mistakes are drawn by a hash of their content, not of their place, so that the same ones are
planted again after files have moved; with `--list` and `--mistakes` exactly the same ones.

First, all tests run once on the unchanged code. This run records which tests pass, how long they take, and which of
them reach the place of each mistake. For a mistake only these tests run, those closest to it by name first, until one
fails. Compiled programs are cached between runs, so that only the programs that a mistake changes are compiled again.

The first run takes about as long as the tests in one process; then a mistake takes about 10 seconds.
"""

import argparse
import builtins
import compileall
import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mistakes import QUOTAS, Mistake, all_mistakes, draw, edited, find_again, place_of

ELSEWHERE = """experiment analysis alignment curvature signal audit ledger receipt gradcheck compare interop adapter
function checkpoint export result page plateau plot survival task cli public speed scikit util small one compilation"""
LEFT_OUT = set(ELSEWHERE.split())  # words in the names of tests that are about something else than the rooms
IMPORTED = "jax jax.numpy numpy optax pytest hypothesis scipy.optimize scipy.integrate equinox optimistix".split()


class Watch:
    """A pytest plugin that runs the wanted tests in order and writes their outcomes and the places that they reach."""

    def __init__(self, out: Path, wanted: list[str] | None):
        self.out, self.wanted, self.now = out, wanted, "collection"
        self.seconds: dict[str, float] = {}
        self.failed, self.reached = {}, defaultdict(dict)
        builtins.__dict__["mark_reached"] = lambda place: self.reached[self.now].setdefault(place)

    def pytest_collection_modifyitems(self, items):
        """Select the wanted tests, in their order."""
        if self.wanted is not None:
            of_name = {item.nodeid: item for item in items}
            items[:] = [of_name[name] for name in self.wanted if name in of_name]

    def pytest_runtest_logstart(self, nodeid, location):
        """Attribute the places reached from now on to this test."""
        self.now, self.seconds[nodeid] = nodeid, -time.process_time()

    def pytest_runtest_logfinish(self, nodeid, location):
        """Record the CPU seconds of this process."""
        self.seconds[nodeid] += time.process_time()

    def pytest_runtest_logreport(self, report):
        """Record the tests that did not pass."""
        if not report.passed:
            self.failed[report.nodeid] = report.outcome

    def pytest_sessionfinish(self, session, exitstatus):
        """Write the results as JSON."""
        found = dict(seconds=self.seconds, failed=list(self.failed), reached={n: [*p] for n, p in self.reached.items()})
        self.out.write_text(json.dumps(found | {"status": int(exitstatus)}))


def run_here(copy: Path, files: list[str], wanted: list[str] | None, out: Path) -> None:
    """Run the tests of a copy in this process, which ends afterwards."""
    import pytest

    os.setsid()
    sink = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.chdir(copy)
    sys.path[:0] = [str(copy), str(copy / "tests")]
    sys.dont_write_bytecode = True
    options = ["-q", "-o", "addopts=", "--import-mode=importlib", "--hypothesis-seed=0", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # for what was imported before
    pytest.main([*files, *options, *(["-x"] if wanted is not None else [])], plugins=[Watch(out, wanted)])
    if Path(*importlib.import_module("bpjax").__path__) != copy / "bpjax":
        out.write_text(json.dumps({"status": "another bpjax was imported"}))


def run_tests(copy: Path, files: list[str], wanted: list[str] | None, out: Path, limit: float | None) -> dict:
    """Run tests in a separate process and return what it wrote, or the status "timeout" or "crash"."""
    out.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=run_here, args=(copy, files, wanted, out))
    process.start()
    process.join(limit)
    late = process.is_alive()
    if late and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return json.loads(out.read_text()) if out.exists() else {"status": "timeout" if late else "crash"}


def copied(root: Path, name: Path) -> Path:
    """Make a fresh copy of the files that the tests need, with compiled Python."""
    shutil.rmtree(name, ignore_errors=True)
    shutil.copytree(root, name, ignore=shutil.ignore_patterns(".*", "v3*", "__pycache__", "shared"))
    compileall.compile_dir(name / "bpjax", quiet=2)
    return name


def words(path: str) -> set[str]:
    """The words of a path in the singular, without "test"."""
    return {word.rstrip("s") for word in re.split(r"[/_.]", path)} - {"test", "bpjax", "py", ""}


def first_run(root: Path, work: Path, mistakes: list[Mistake], only: str | None) -> dict:
    """Run all tests once, file by file, on code that records which places it reaches; continue an earlier such run."""
    stored, places = work / "first.json", sorted({place_of(m) for m in mistakes})
    found = json.loads(stored.read_text()) if stored.exists() else {}
    if found.get("places") != places:
        found = {"places": places, "seconds": {}, "failed": [], "reached": {}}
        copy = copied(root, work / "marked")
        for place, m in {place_of(m): m for m in mistakes}.items():
            marked = re.sub(r"^(\w+=(?!=)|)(.*)$", rf"\1(mark_reached({place!r}), \2)[1]", m.old)  # axis=0 too
            (copy / m.file).write_bytes(edited((copy / m.file).read_bytes(), m, marked))
    near = set().union(*(words(m.file) for m in mistakes if only in (None, m.room)))
    for path in sorted((work / "marked" / "tests").rglob("test_*.py")):
        file = str(path.relative_to(work / "marked"))
        if file in found or words(file) & LEFT_OUT or (only and not words(file) & near):
            continue
        result = run_tests(work / "marked", [file], None, work / f"{path.stem}.json", None)
        if "seconds" not in result:
            raise SystemExit(f"{file} did not run on the untouched code ({result['status']}): see the log in {work}.")
        at_collection = {file: result["reached"].pop("collection", [])}
        found[file] = sum(result["seconds"].values())
        found["seconds"] |= result["seconds"]
        found["failed"] += result["failed"]
        found["reached"] |= result["reached"] | at_collection
        print(f"{found[file]:5.0f} s  {file}, untouched: {len(result['seconds'])} tests", flush=True)
        stored.write_text(json.dumps(found))
    return found


def tests_for(mistake: Mistake, first: dict, seconds: float) -> list[str]:
    """The tests that reach a mistake, closest by name first, then fastest.

    JAX traces a program once, so tests of the same case that reuse a traced program count as well; so do all tests of a
    file that reaches the mistake during collection, if its name is close.
    """
    file = lambda name: name.split("::")[0]
    close = lambda name: len(words(mistake.file) & words(file(name)))
    case = lambda name: (file(name), name.partition("[")[2])
    reached = {name for name, places in first["reached"].items() if place_of(mistake) in places}
    cases = {case(name) for name in reached if "[" in name}
    names = [
        name
        for name in first["seconds"].keys() - set(first["failed"])
        if name in reached or case(name) in cases or (file(name) in reached and close(name))
    ]
    chosen, total = [], 0.0
    for name in sorted(names, key=lambda n: (-close(n), first["seconds"][n], n)):
        if total <= seconds:
            chosen.append(name)
            total += first["seconds"][name]
    return chosen


def attempt(root: Path, work: Path, mistake: Mistake, tests: list[str], limit: float) -> dict:
    """Plant one mistake and run the tests on it."""
    started, copy = time.monotonic(), work / f"tree-{os.getpid()}"
    if not copy.exists():
        copied(root, copy)
    source = (root / mistake.file).read_bytes()
    (copy / mistake.file).write_bytes(edited(source, mistake, mistake.new))
    files = list(dict.fromkeys(name.split("::")[0] for name in tests))
    out = work / f"result-{os.getpid()}.json"
    result: dict = run_tests(copy, files, tests, out, limit) if tests else {"status": 0}
    shutil.copy2(root / mistake.file, copy / mistake.file)
    by = (result.get("failed") or [result["status"]])[0]
    outcome = {"caught": result["status"] != 0, "by": by, "tests": len(tests), "seconds": time.monotonic() - started}
    return mistake._asdict() | outcome


def table(rows: list[dict]) -> str:
    """The share caught in each room, then the mistakes that no test caught."""
    lines = ["room          mistakes  caught  share"]
    for room in (*QUOTAS, "all"):
        caught = [row["caught"] for row in rows if room in (row["room"], "all")]
        if caught:
            lines.append(f"{room:<12}  {len(caught):8}  {sum(caught):6}  {sum(caught) / len(caught):5.0%}")
    for r in rows:
        if not r["caught"]:
            tests = f"{r['tests']} tests" if r["tests"] else "no test reaches it"
            lines.append(f"\n{r['file']}:{r['line']}  {r['kind']}, {tests}\n  - {r['before']}\n  + {r['after']}")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1], help="root of the code (this one)")
    parser.add_argument("--only", choices=list(QUOTAS), help="one room, with the tests close to it by name")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of mistakes")
    parser.add_argument("--count", type=float, default=1.0, help="factor on the number of mistakes, 185")
    parser.add_argument("--jobs", type=int, default=1, help="number of parallel processes")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="most CPU seconds of tests per mistake, as the first run took them"
    )
    parser.add_argument("--list", type=Path, help="write the mistakes to this file, for --mistakes")
    parser.add_argument("--mistakes", type=Path, help="plant the mistakes of this file, found again in this tree")
    parser.add_argument(
        "--out", type=Path, help="write results to this file after each mistake, and continue where it ends"
    )
    parser.add_argument(
        "--work", type=Path, help="folder for copies, compiled programs and the first run; it is not deleted"
    )
    return parser.parse_args()


def chosen_mistakes(args: argparse.Namespace) -> list[Mistake]:
    """The mistakes drawn from this tree, or those of a file found again in it."""
    mistakes = list(all_mistakes(args.tree.resolve()))
    if args.mistakes:
        wanted = [Mistake(**m | {"columns": tuple(m["columns"])}) for m in json.loads(args.mistakes.read_text())]
        pairs = list(find_again(wanted, mistakes))
        for old in (old for old, new in pairs if new is None):
            print(f"not found: {old.function}, {old.kind}: {old.before}")
        mistakes = [new for _, new in pairs if new]
    else:
        mistakes = draw(mistakes, args.seed, args.count)
    return list({place_of(m): m for m in mistakes}.values())


def main() -> None:
    """Plant mistakes one by one, print the table."""
    args = parsed()
    mistakes, root = chosen_mistakes(args), args.tree.resolve()
    if args.list:
        args.list.write_text(json.dumps([m._asdict() for m in mistakes], indent=1, ensure_ascii=False))
    work = (args.work or Path(tempfile.mkdtemp(prefix="mutation-check-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "programs")
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    warnings.simplefilter("ignore")
    for old in work.glob("tree-*"):
        shutil.rmtree(old)
    for module in IMPORTED:  # once, before the processes that run tests part, and without any computation
        importlib.import_module(module)

    first = first_run(root, work, mistakes, args.only)
    mistakes = [m for m in mistakes if args.only in (None, m.room)]
    tests = [tests_for(mistake, first, args.seconds) for mistake in mistakes]
    limits = [120 + 10 * sum(first["seconds"][name] for name in names) for names in tests]
    print(f"{len(first['seconds'])} tests, {len(first['failed'])} left out; {len(mistakes)} mistakes", flush=True)
    known = {row["place"]: row for row in (json.loads(args.out.read_text()) if args.out and args.out.exists() else [])}
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("fork")) as pool:
        jobs = {}
        for mistake, names, limit in zip(mistakes, tests, limits, strict=True):
            row = known.get(place_of(mistake), {"caught": False, "tests": None})
            if not row["caught"] and row["tests"] != len(names):
                jobs[place_of(mistake)] = pool.submit(attempt, root, work, mistake, names, limit)
        for place, job in jobs.items():
            known[place] = r = {"place": place} | job.result()
            noticed = f"caught by {r['by']}" if r["caught"] else "SURVIVED"
            print(f"{r['seconds']:5.1f} s  {place}  {r['kind']}: {noticed}", flush=True)
            if args.out:
                args.out.write_text(json.dumps(list(known.values()), indent=1, ensure_ascii=False))
    print(table([known[place_of(m)] for m in mistakes]))


if __name__ == "__main__":
    main()
