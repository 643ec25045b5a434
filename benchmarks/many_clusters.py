"""What do many clusters, and few labels of many classes, cost?

    python benchmarks/many_clusters.py [DATA] [--cases small banking million] [--seeds 3]

Processor time of one fit, the loss that it ends at, labels beside the classes, and the peak of the process, features
included.  Mixtures are of as many normal clusters as are asked for; every case has a process of its own, after a small
fit that loads and compiles.  Run it in turn with another version of the library by PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
from _common import write
from _loaders import from_file
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from iconlearn import ICONClassifier, ICONClustering

# Rows, columns, clusters; "labels" of so many rows of each class, or a p over all pairs.
CASES = {
    "small": [(200, 20, 60, {}), (1000, 20, 50, {}), (4900, 20, 100, {}), (5100, 20, 100, {})],
    "labels": [(5000, 20, 100, {"labels": 2})],
    "dense": [(300, 20, 30, {"p": "gaussian"}), (300, 20, 30, {"p": "gaussian-dense"})],
    "banking": [("banking", None, 77, {})],
    "many": [(100_000, 50, 100, {})],
    "million": [(1_000_000, 50, 100, {})],
}


def data(n, n_columns, n_clusters, folder):
    if n == "banking":
        return from_file("banking77_minilm", pathlib.Path(folder))
    rng = np.random.default_rng(n + n_clusters)
    centres = rng.normal(size=(n_clusters, n_columns)).astype(np.float32)
    y = rng.integers(n_clusters, size=n)
    return centres[y] + rng.normal(size=(n, n_columns)).astype(np.float32), y


def work(case, seed, folder):
    """One fit."""
    n, n_columns, n_clusters, options = case
    X, y = data(n, n_columns, n_clusters, folder)
    rng = np.random.default_rng(0)
    ICONClustering(30, n_init=2, max_iter=3, random_state=0).fit(rng.normal(size=(6000, 10)))
    if "labels" in options:
        known = np.full(len(y), -1)
        for c in range(n_clusters):
            known[rng.permutation(np.flatnonzero(y == c))[: options["labels"]]] = c
        model, told = ICONClassifier(unlabeled=-1, random_state=seed), (X, known)
    else:
        p = options.get("p", "auto")
        if p == "gaussian-dense":
            from iconlearn.supervisory import Gaussian

            p = Gaussian(30.0, n_neighbors=None)
        model, told = ICONClustering(n_clusters, p=p, random_state=seed), (X,)
    begun, used = time.perf_counter(), time.process_time()
    model.fit(*told)
    labels = model.predict(X) if "labels" in options else model.labels_
    return {
        "rows": len(X),
        "clusters": n_clusters,
        "case": ", ".join(f"{name}={value}" for name, value in options.items()) or str(n),
        "seed": seed,
        "cpu_seconds": round(time.process_time() - used, 2),
        "seconds": round(time.perf_counter() - begun, 1),
        "loss": round(float(model.loss_), 6),
        "ari": round(adjusted_rand_score(y, labels), 4),
        "nmi": round(normalized_mutual_info_score(y, labels), 4),
        "steps": model.n_iter_,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main(options):
    rows = []
    for name in options.cases:
        for k in range(len(CASES[name])):
            for seed in range(options.seeds):
                command = [sys.executable, __file__, options.folder or "", "--work", name, str(k), str(seed)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                rows.append(json.loads(told.splitlines()[-1]))
                print(rows[-1], flush=True)
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="folder with banking77_minilm.npz, for the case banking")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["small", "labels", "dense", "many"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        name, k, seed = chosen.work
        print(json.dumps(work(CASES[name][int(k)], int(seed), chosen.folder)))
    else:
        main(chosen)
