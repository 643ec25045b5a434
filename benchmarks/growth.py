"""How do the time and the memory of a map grow with the number of rows?

    python benchmarks/growth.py [DATA] [--rows 10000 100000 1000000] [--runs 3]

A mixture of 100 normal clusters in 50 columns, and with DATA (a folder that holds ``mnist.npz``) the rows of
MNIST in 50 principal components as well, resampled with a tenth of each column's spread as noise.  Every fit
has a process of its own; the peak is that of the whole process, the features included.  Of several runs the
one with the median time of a step is kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from _common import mnist, write

N_COLUMNS, N_CLUSTERS = 50, 100


def mixture(n, rng):
    centres = rng.normal(scale=3.0, size=(N_CLUSTERS, N_COLUMNS)).astype(np.float32)
    return centres[rng.integers(N_CLUSTERS, size=n)] + rng.normal(size=(n, N_COLUMNS)).astype(np.float32)


def digits(n, rng, folder):
    from sklearn.decomposition import PCA

    X = PCA(N_COLUMNS, random_state=0).fit_transform(mnist(folder)[0])
    noise = 0.1 * X.std(0) * rng.normal(size=(n, N_COLUMNS))
    return (X[rng.integers(len(X), size=n)] + noise).astype(np.float32)


def work(n, folder):
    """One fit, in a process of its own."""
    from iconlearn import ICONEmbedding

    rng = np.random.default_rng(0)
    X = digits(n, rng, folder) if folder else mixture(n, rng)
    ICONEmbedding(max_iter=5, random_state=0).fit(X[:6000])
    model = ICONEmbedding(random_state=0)
    begun = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - begun
    step = model.timings_["optimisation"] / model.n_iter_
    print(
        json.dumps(
            {
                "data": "mnist with noise" if folder else "mixture",
                "rows": n,
                "seconds": round(seconds, 1),
                **{stage: round(taken, 1) for stage, taken in model.timings_.items()},
                "steps": model.n_iter_,
                "step_ns_per_row": round(1e9 * step / n),
                "extent": round(float(np.ptp(model.embedding_, axis=0).max())),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            }
        )
    )


def fit(n, folder):
    command = [sys.executable, __file__, "--work", str(n), folder]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(told.splitlines()[-1])


def main(options):
    rows = []
    for folder in [""] + [options.data] * bool(options.data):
        for n in options.rows:
            found = sorted(
                (fit(n, folder) for _ in range(options.runs)), key=lambda row: row["step_ns_per_row"]
            )
            rows.append({**found[len(found) // 2], "runs": options.runs})
            print(rows[-1], flush=True)
        steps = [row["step_ns_per_row"] for row in rows[-len(options.rows) :]]
        print(
            f"{rows[-1]['data']}: the slowest step a row takes {max(steps) / min(steps):.2f} of the quickest"
        )
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(int(chosen.work[0]), chosen.work[1])
    else:
        main(chosen)
