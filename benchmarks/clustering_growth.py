"""How do the time and the memory of a clustering grow with the number of rows?

    python benchmarks/clustering_growth.py [--rows 10000 100000 1000000] [--clusters 100]

A mixture of as many normal clusters as are asked for, in 50 columns.  Every fit has a process of its own, after a
small one that loads and compiles; the peak is that of the whole process, the features included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from _common import write
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering

N_COLUMNS = 50


def mixture(n_rows, n_clusters, rng):
    centres = rng.normal(size=(n_clusters, N_COLUMNS)).astype(np.float32)
    y = rng.integers(n_clusters, size=n_rows)
    return centres[y] + rng.normal(size=(n_rows, N_COLUMNS)).astype(np.float32), y


def work(n_rows, n_clusters):
    """One fit, in a process of its own."""
    X, y = mixture(n_rows, n_clusters, np.random.default_rng(0))
    ICONClustering(10, random_state=0).fit(X[:6000])
    model = ICONClustering(n_clusters, random_state=0)
    begun, used = time.perf_counter(), time.process_time()
    model.fit(X)
    print(
        json.dumps(
            {
                "rows": n_rows,
                "clusters": n_clusters,
                "seconds": round(time.perf_counter() - begun, 1),
                "cpu_seconds": round(time.process_time() - used, 1),
                **{stage: round(taken, 1) for stage, taken in model.timings_.items()},
                "steps": model.n_iter_,
                "ari": round(adjusted_rand_score(y, model.labels_), 4),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            }
        )
    )


def main(options):
    rows = []
    for n_rows in options.rows:
        command = [sys.executable, __file__, "--work", str(n_rows), str(options.clusters)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(told.splitlines()[-1]))
        print(rows[-1], flush=True)
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(*chosen.work)
    else:
        main(chosen)
