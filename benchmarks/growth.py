"""How do the time and the memory of a map grow with the number of rows?

    python benchmarks/growth.py [DATA] [--rows 10000 100000 1000000] [--runs 3]
    python benchmarks/growth.py --rows 10000000 --mapped FOLDER

A mixture of 100 normal clusters in 50 columns, and with DATA (a folder that holds ``mnist.npz``) the rows of
MNIST in 50 principal components as well, resampled with a tenth of each column's spread as noise.  Every fit
has a process of its own.  The peak is that of the whole process, the features included; with --mapped these are in a
file of that folder (200 bytes a row), of which the system keeps what there is room for, and the private peak leaves
that out.  Of several runs the one with the median time of a step is kept.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
from _common import features_of, write

N_COLUMNS, N_CLUSTERS = 50, 100
# Rows that are drawn at once.
DRAWN = 500_000


def mixture(rng):
    """What draws rows of the mixture."""
    centres = rng.normal(scale=3.0, size=(N_CLUSTERS, N_COLUMNS)).astype(np.float32)

    def draw(n):
        return centres[rng.integers(N_CLUSTERS, size=n)] + rng.standard_normal(
            (n, N_COLUMNS), dtype=np.float32
        )

    return draw


def digits(rng, folder):
    """What draws rows of MNIST with noise."""
    X = features_of(folder, N_COLUMNS)[0]
    scale = 0.1 * X.std(0)

    def draw(n):
        return X[rng.integers(len(X), size=n)] + scale * rng.standard_normal((n, N_COLUMNS), dtype=np.float32)

    return draw


def drawn(n, draw, file):
    """So many rows, in memory or in a file."""
    X = (
        np.memmap(file, np.float32, "w+", shape=(n, N_COLUMNS))
        if file
        else np.empty((n, N_COLUMNS), np.float32)
    )
    for start in range(0, n, DRAWN):
        X[start : start + DRAWN] = draw(min(DRAWN, n - start))
    return np.memmap(file, np.float32, "r", shape=X.shape) if file else X


class Memory(threading.Thread):
    """The largest private and whole memory of this process, in GiB, while it lives."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peaks = {"RssAnon": 0.0, "VmRSS": 0.0}

    def run(self):
        while True:
            for line in pathlib.Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in self.peaks:
                    self.peaks[name] = max(self.peaks[name], int(value.split()[0]) / 2**20)
            time.sleep(0.2)


def work(n, folder, file):
    """One fit, in a process of its own."""
    from iconlearn import ICONEmbedding

    rng = np.random.default_rng(0)
    X = drawn(n, digits(rng, folder) if folder else mixture(rng), file)
    ICONEmbedding(max_iter=5, random_state=0).fit(X[:16_000])
    model, memory = ICONEmbedding(random_state=0), Memory()
    memory.start()
    begun, processor = time.perf_counter(), time.process_time()
    model.fit(X)
    seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    step = model.timings_["optimisation"] / model.n_iter_
    print(
        json.dumps(
            {
                "data": "mnist with noise" if folder else "mixture",
                "rows": n,
                "seconds": round(seconds, 1),
                "processor": round(processor, 1),
                **{stage: round(taken, 1) for stage, taken in model.timings_.items()},
                "steps": model.n_iter_,
                "step_ns_per_row": round(1e9 * step / n),
                "extent": round(float(np.ptp(model.embedding_, axis=0).max())),
                "peak_gib": round(memory.peaks["VmRSS"], 2),
                "private_gib": round(memory.peaks["RssAnon"], 2),
            }
        )
    )


def fit(n, folder, mapped):
    with tempfile.TemporaryDirectory(dir=mapped or None) as place:
        file = str(pathlib.Path(place) / "X.dat") if mapped else ""
        command = [sys.executable, __file__, "--work", str(n), folder, file]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def main(options):
    rows = []
    for folder in [""] + [options.data] * bool(options.data):
        for n in options.rows:
            found = sorted(
                (fit(n, folder, options.mapped) for _ in range(options.runs)),
                key=lambda row: row["step_ns_per_row"],
            )
            rows.append({**found[len(found) // 2], "runs": options.runs})
            print(rows[-1], flush=True)
        steps = [row["step_ns_per_row"] for row in rows[-len(options.rows) :]]
        print(
            f"{rows[-1]['data']}: the slowest step a row takes {max(steps) / min(steps):.2f} of the quickest"
        )
    print(f"written to {write(__file__, rows, *['mapped'] * bool(options.mapped))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--mapped", metavar="FOLDER", help="rows are read from a file that is made there")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(int(chosen.work[0]), *chosen.work[1:])
    else:
        main(chosen)
