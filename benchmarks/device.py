"""Does a GPU pass the tests, repeat its bits and end where the CPU ends, and how long does it take?

    python benchmarks/device.py [DATA] [--stages ...] [--minutes 12] [--out FOLDER] [--again] [--smoke]

For the day a card is at hand, which may be a short one.  Every stage has a process of its own and a bound on its
time, so that a crash or a hang costs that stage alone; stages that time nothing run side by side.  Each figure is
written to ``device.csv`` in FOLDER as soon as it is known, and one that is there already is not measured again: a
second call goes on where the first was stopped.  What the stages say is in ``device.log``.

DATA is a folder with ``mnist.npz``; without it made-up digits of the same shape take its place.  ``--smoke`` does
everything in a small size, on the CPU too, to see that it works.
"""

from __future__ import annotations

import argparse
import csv
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from _common import RESULTS

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Stage(NamedTuple):
    """Seconds that a stage may take, and whether it may share the machine with the one before it."""

    seconds: int
    beside: bool = False


STAGES = {
    "machine": Stage(60),
    "mnist": Stage(100),
    "profile": Stage(90),
    "whole": Stage(90),
    "pieces": Stage(90),
    "bits": Stage(150),
    "agree": Stage(180, beside=True),
    "tests": Stage(240, beside=True),
    "million": Stage(120),
    "clusters": Stage(90),
    "head": Stage(90),
    "peers": Stage(90),
    "cpu": Stage(120),
}


def groups(names):
    """Stages in the order in which they are declared, those together that may run side by side."""
    together = []
    for name in (name for name in STAGES if name in names):
        if STAGES[name].beside and together:
            together[-1].append(name)
        else:
            together.append([name])
    return together


def begin(name, options):
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "_on_device.py"),
        name,
        str(options.out),
        options.data,
    ]
    # A group of its own, so that test workers end with the stage that started them.
    return subprocess.Popen(
        command + ["--smoke"] * options.smoke, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=ROOT, start_new_session=True, env={**os.environ, "PYTHONPATH": search_path()},
    )  # fmt: skip


def search_path():
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def end(name, process, until, log):
    """Wait for a stage, and end it at its bound; what it said goes to the log."""
    try:
        said, _ = process.communicate(timeout=max(until - time.monotonic(), 1))
        verdict = "done" if process.returncode == 0 else f"ended with {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        verdict = "stopped at its bound"
    log.write(f"\n=== {name}: {verdict}\n{said}")
    log.flush()
    return verdict, said


def main(options):
    options.out.mkdir(parents=True, exist_ok=True)
    if options.again:
        forget(options.out / "device.csv", options.stages)
    last = time.monotonic() + 60 * options.minutes
    with (options.out / "device.log").open("a") as log:
        for names in groups(options.stages):
            begun = time.monotonic()
            if last - begun < 10:
                print(f"{', '.join(names)}: no time is left; call again to go on", flush=True)
                continue
            processes = {name: begin(name, options) for name in names}
            for name, process in processes.items():
                until = min(begun + STAGES[name].seconds, last)
                verdict, said = end(name, process, until, log)
                print(f"--- {name}: {verdict} after {time.monotonic() - begun:.0f} s", flush=True)
                print(*[line for line in said.splitlines() if line.startswith("* ")], sep="\n")
                print("" if verdict == "done" else said[-500:], flush=True)
    print(f"written to {options.out / 'device.csv'}")


def forget(path, stages):
    """Take the figures of some stages out of the file."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names, rows = reader.fieldnames, [row for row in reader if row["stage"] not in stages]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=list(STAGES),
        metavar="STAGE",
        help=f"of {list(STAGES)}",
    )
    parser.add_argument("--minutes", type=float, default=12, help="for everything")
    parser.add_argument(
        "--out", type=pathlib.Path, help="where figures are kept; benchmarks/results by default"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there already once more")
    parser.add_argument(
        "--smoke", action="store_true", help="small sizes; figures go to a temporary folder by default"
    )
    chosen = parser.parse_args()
    chosen.out = (chosen.out or (pathlib.Path(tempfile.mkdtemp()) if chosen.smoke else RESULTS)).resolve()
    chosen.data = str(pathlib.Path(chosen.data).resolve()) if chosen.data else ""
    main(chosen)
