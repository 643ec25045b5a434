"""Which search for neighbours is quick, and how many of the true ones does it find?

The searches of `iconlearn.neighbors` beside scikit-learn's exact one, on the rows of an .npz file (array X;
more than 50 columns are reduced to 50 by PCA unless --raw is given) or on synthetic blobs.  Each search runs
in a process of its own, whose imports are not counted but whose compilers are: "first" is the first call,
"best" the least of all.  Recall is measured on 2 000 rows whose neighbours are known exactly.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from _common import write
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from iconlearn.neighbors import knn

SEARCHES = ("exact", "ivf", "faiss", "pynndescent", "sklearn")
N_KNOWN = 2000


def rows_of(path, n_rows, raw):
    """Name and rows of the data, float32, shuffled."""
    if path is None:
        X, _ = make_blobs(n_rows or 70_000, n_features=50, centers=200, cluster_std=6.0, random_state=0)
        return "blobs", X.astype(np.float32)
    with np.load(path) as data:
        X = data["X"].reshape(len(data["X"]), -1).astype(np.float32)
    if X.shape[1] > 50 and not raw:
        X = PCA(50, random_state=0).fit_transform(X).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(X))[:n_rows]
    return pathlib.Path(path).stem, np.ascontiguousarray(X[order])


def search(name, X, k):
    if name == "sklearn":
        return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors()[1]
    return knn(X, k, backend=name, random_state=0)[1]


def known(X, k):
    """The first rows and their exact neighbours."""
    indices = knn(X, k + 1, queries=X[:N_KNOWN])[1]
    return [row[row != i][:k] for i, row in enumerate(indices)]


def worker(name, path, k, runs):
    """Time one search in this process; print what was measured."""
    X, seconds = np.load(path), []
    for _ in range(runs):
        begun = time.perf_counter()
        indices = search(name, X, k)
        seconds.append(time.perf_counter() - begun)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(known(X, k), indices)])
    print(json.dumps({"first": seconds[0], "best": min(seconds), "recall": recall}))


def main(path, n_rows, raw, ks, searches, runs):
    data, X = rows_of(path, n_rows, raw)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        stored = str(pathlib.Path(folder) / "X.npy")
        np.save(stored, X)
        for k in ks:
            for name in searches:
                command = [sys.executable, __file__, "--worker", name, stored, str(k), str(runs)]
                run = subprocess.run(command, capture_output=True, text=True)
                if run.returncode:
                    print(f"{name:12s} k {k:3d}  {run.stderr.strip().splitlines()[-1]}")
                    continue
                measured = json.loads(run.stdout.splitlines()[-1])
                measured = {key: round(value, 4) for key, value in measured.items()}
                figures.append({"data": data, "rows": len(X), "columns": X.shape[1], "k": k, "search": name})
                figures[-1] |= {"runs": runs, **measured}
                print(
                    "{search:12s} k {k:3d}  first {first:7.2f} s  best {best:7.2f} s  recall {recall:.4f}".format(
                        **figures[-1]
                    )
                )
    print(f"written to {write(__file__, figures)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("npz", nargs="?", help="a file with an array X; without it, blobs")
    parser.add_argument("--rows", type=int, help="so many of them (default: all; 70 000 blobs)")
    parser.add_argument("--raw", action="store_true", help="all columns, not 50 principal ones")
    parser.add_argument("--neighbors", type=int, nargs="+", default=[15, 90])
    parser.add_argument("--searches", nargs="+", default=SEARCHES, choices=SEARCHES)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], options.worker[1], int(options.worker[2]), int(options.worker[3]))
    else:
        main(
            options.npz,
            options.rows,
            options.raw,
            options.neighbors,
            options.searches,
            options.runs,
        )
