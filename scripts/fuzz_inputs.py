"""Call every public callable with every argument wrong in turn, and see whether the answer is one clear sentence.

    python scripts/fuzz_inputs.py                       # all rooms, one process each
    python scripts/fuzz_inputs.py --room layers         # one room
    python scripts/fuzz_inputs.py --sample 300 --seed 1 # a random part of the calls, the same for the same seed

Verdicts of a call with one wrong argument:

    sentence     refused by bpjax in one line that says what it expected and what came
    on purpose   accepted, with a reason in scripts/fuzz_on_purpose.py
    to decode    any other error: from inside JAX, NumPy or Python, or of several lines
    accepted     returned as if nothing were wrong
    hung         no answer within 20 s, or the process died

and of a call that writes a right argument in another way (NumPy scalars, lists): `fine`, or `refused`.
The exit status is 1 if there is anything but sentence, on purpose and fine.
"""

import argparse
import collections
import contextlib
import io
import itertools
import json
import linecache
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from pathlib import Path

LIMIT = 20
"""Seconds for one call."""
DEFECTS = ("to decode", "accepted", "hung", "refused")
ROOT = Path(__file__).resolve().parents[1]


def cases(room: str):
    """(call, parameter, label, changed arguments, whether they are wrong) of a room, in a fixed order."""
    import fuzz_cases
    import fuzz_values

    for call in fuzz_cases.calls(room):
        for parameter, value in call.arguments.items():
            for label, wrong in fuzz_values.wrong_values(value):
                yield call, parameter, label, {parameter: wrong}, True
            for label, right in fuzz_values.same_values(value):
                yield call, parameter, label, {parameter: right}, False
        for one, other in itertools.pairwise(call.arguments):
            values = call.arguments[one], call.arguments[other]
            if fuzz_values.kind_of(values[0]) != fuzz_values.kind_of(values[1]):
                yield call, f"{one}, {other}", "swapped", {one: values[1], other: values[0]}, True


def sampled(room: str, sample: int | None, seed: int):
    """(number, case) of those to run: all, or each with the same chance."""
    chosen = list(enumerate(cases(room)))
    if sample is None or sample >= len(chosen):
        return chosen
    return sorted(random.Random(f"{seed} {room}").sample(chosen, sample), key=lambda entry: entry[0])


def verdict(call, parameter: str, label: str, changes: dict, wrong: bool) -> tuple[str, str]:
    """(verdict, what was said or returned)."""
    import fuzz_on_purpose

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = call(**changes)
    except TimeoutError as error:
        return "hung", str(error)
    except Exception as error:
        if wrong and is_sentence(error):
            return "sentence", said(error)
        reason = fuzz_on_purpose.may_raise(call, parameter, label, error)
        return ("on purpose", reason) if reason else ("to decode" if wrong else "refused", said(error))
    if not wrong:
        return "fine", ""
    reason = fuzz_on_purpose.may_accept(call, parameter, label, changes.get(parameter))
    return ("on purpose", reason) if reason else ("accepted", f"returned {str(result)[:60]!r}")


def said(error: BaseException) -> str:
    """The error on one line, with the place it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]} [{Path(frame.filename).name}:{frame.lineno}]"


def is_sentence(error: Exception) -> bool:
    """Whether bpjax raised it on purpose, in one line that is not long."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if Path(frame.filename).name.startswith("fuzz_"):  # the user's own function raised it
        return True
    if not isinstance(error, ValueError | TypeError | ModuleNotFoundError | OSError | LookupError):
        return False
    ours = str(ROOT / "bpjax") in frame.filename and "raise" in (frame.line or linecache.getline(frame.filename, 1))
    text = str(error)
    return ours and "\n" not in text and 20 < len(text) < 700


def out_of_time(*_):
    """What the alarm does."""
    raise TimeoutError(f"no answer within {LIMIT} s")


def work(room: str, sample: int | None, seed: int, first: int) -> None:
    """Run the cases of a room from a number on; one line of JSON for each, written before and after the call."""
    import fuzz_on_purpose  # noqa: F401  (here, so that a mistake in it is no verdict of a call)

    warnings.simplefilter("ignore")
    os.chdir(tempfile.mkdtemp())  # for calls that write a file with a wrong name
    signal.signal(signal.SIGALRM, out_of_time)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for number, (call, parameter, label, changes, wrong) in sampled(room, sample, seed):
        if number < first:
            continue
        about = {"number": number, "name": call.name, "parameter": parameter, "label": label}
        print(json.dumps(about), file=out)
        signal.alarm(LIMIT)
        try:
            result = verdict(call, parameter, label, changes, wrong)
        except BaseException as error:  # the alarm can ring late
            result = "hung", said(error)
        finally:
            signal.alarm(0)
        print(json.dumps(about | {"verdict": result[0], "said": result[1]}), file=out)


def run_room(room: str, sample: int | None, seed: int) -> list[dict]:
    """The results of a room; a call after which the process is silent or dead is `hung`, and the next one follows."""
    results, first = [], 0
    while True:
        command = [sys.executable, __file__, "--work", room, "--from", str(first), "--seed", str(seed)]
        command += ["--sample", str(sample)] if sample is not None else []
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
        )
        errors: list[str] = []
        threading.Thread(target=lambda p=process, e=errors: e.extend(p.stderr), daemon=True).start()
        begun = None
        watchdog = Watchdog(process)
        for line in process.stdout or ():
            watchdog.start()
            entry = json.loads(line)
            begun = None if "verdict" in entry else entry
            if begun is None:
                results.append(entry)
        watchdog.stop()
        status = process.wait()
        if begun is None:
            if status:
                raise RuntimeError(f"The calls of {room} could not be made:\n{''.join(errors[-12:])}")
            return results
        results.append({**begun, "verdict": "hung", "said": f"the process ended with {status}"})
        first = begun["number"] + 1


class Watchdog:
    """Ends a process that has been silent for three times the limit: an alarm does not reach compiled code."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.timer = process, None
        self.start()

    def start(self) -> None:
        """Start to wait."""
        self.stop()
        self.timer = threading.Timer(3 * LIMIT, self.process.kill)
        self.timer.daemon = True
        self.timer.start()

    def stop(self) -> None:
        """Wait no more."""
        if self.timer:
            self.timer.cancel()


def table(by_room: dict[str, list[dict]]) -> str:
    """One line a room: how many calls ended in which verdict."""
    columns = ("sentence", "on purpose", *DEFECTS, "fine")
    lines = [f"{'room':<14}{'calls':>7}" + "".join(f"{name:>12}" for name in columns)]
    everything = list(itertools.chain(*by_room.values()))
    for room, results in [*by_room.items(), ("all", everything)]:
        count = collections.Counter(result["verdict"] for result in results)
        lines.append(f"{room:<14}{len(results):>7}" + "".join(f"{count[name]:>12}" for name in columns))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the rooms; 1 if there is a defect."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--room", action="append", help="only this room; may be given several times")
    parser.add_argument("--sample", type=int, help="at most so many calls a room")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--reasons", action="store_true", help="also list what is accepted on purpose, and why")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--from", type=int, default=0, dest="first", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work(options.work, options.sample, options.seed, options.first)
        return 0
    import fuzz_cases

    by_room = {}
    for room in options.room or fuzz_cases.ROOMS:
        by_room[room] = run_room(room, options.sample, options.seed)
        for result in by_room[room]:
            if result["verdict"] in DEFECTS:
                print("{verdict:<10}{name}({parameter}={label}): {said}".format(**result), flush=True)
    everything = [result for results in by_room.values() for result in results]
    print(table(by_room))
    if options.reasons:
        reasons = collections.Counter(r["said"] for r in everything if r["verdict"] == "on purpose")
        print("\nAccepted on purpose:", *(f"{count:>6}  {reason}" for reason, count in reasons.most_common()), sep="\n")
    return int(any(result["verdict"] in DEFECTS for result in everything))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
