"""Which search for neighbours is quick, and how many of the true ones does it find?

The search in cells of `iconlearn.neighbors` beside faiss (inverted lists), hnswlib and pynndescent, each with several
settings, and scikit-learn's exact one, on the rows of an .npz file (array X, reduced to --columns by PCA) or on
synthetic blobs.  --rows beyond those of the file are copies with noise (0.15 standard deviations of each column).
Each search runs in a process of its own, whose imports are not counted; those that compile are called once before on
20 000 rows.  Seconds are of the clock and of the processor, whose share tells on a machine with other work.  Recall
is measured on 2 000 rows whose neighbours are known exactly.

    python benchmarks/neighbors.py DATA/mnist.npz --columns 50 384 --metrics euclidean cosine
    python benchmarks/neighbors.py DATA/mnist.npz --rows 1000000 --searches ivf "faiss 24"
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
from _common import write
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from iconlearn.neighbors import knn

# The number is how many cells faiss looks into, and how many candidates hnswlib keeps.
SEARCHES = ("ivf", "faiss 16", "faiss 24", "faiss 48", "hnswlib 30", "hnswlib 100", "pynndescent", "sklearn")
N_KNOWN = 2000
N_WARM = 20_000
NOISE = 0.15


def rows_of(path, n_rows, n_columns):
    """Name and rows of the data, float32, shuffled."""
    rng = np.random.default_rng(0)
    if path is None:
        X, _ = make_blobs(
            n_rows or 70_000, n_features=n_columns, centers=200, cluster_std=6.0, random_state=0
        )
        return "blobs", X.astype(np.float32)
    with np.load(path) as data:
        X = data["X"].reshape(len(data["X"]), -1).astype(np.float32)
    if X.shape[1] > n_columns:
        X = PCA(n_columns, random_state=0).fit_transform(X).astype(np.float32)
    X = X[rng.permutation(len(X))]
    n_rows, scale, parts = n_rows or len(X), NOISE * X.std(0), [X]
    while sum(map(len, parts)) < n_rows:
        parts.append(X + scale * rng.standard_normal(X.shape, dtype=np.float32))
    return pathlib.Path(path).stem, np.concatenate(parts)[:n_rows]


def search(name, X, k, metric):
    """Neighbours of every row, which may be among its own."""
    name, _, setting = name.partition(" ")
    n_jobs = len(os.sched_getaffinity(0))
    if name == "sklearn":
        return NearestNeighbors(n_neighbors=k + 1, metric=metric, algorithm="brute").fit(X).kneighbors()[1]
    if name == "pynndescent":
        from pynndescent import NNDescent

        index = NNDescent(X, n_neighbors=k + 1, metric=metric, n_jobs=n_jobs, random_state=0)
        return index.neighbor_graph[0]
    if name == "faiss":
        import faiss

        space, n_cells = normalize(X) if metric == "cosine" else X, int(4 * np.sqrt(len(X)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(X.shape[1]), X.shape[1], n_cells)
        index.cp.niter, index.nprobe = 5, int(setting)
        index.train(space)
        index.add(space)
        return index.search(space, k + 1)[1]
    if name == "hnswlib":
        import hnswlib

        index = hnswlib.Index(space="l2" if metric == "euclidean" else "cosine", dim=X.shape[1])
        index.init_index(len(X), M=16, ef_construction=100, random_seed=0)
        index.set_num_threads(n_jobs)
        index.add_items(X)
        index.set_ef(max(int(setting), k + 1))
        return index.knn_query(X, k + 1)[0]
    return knn(X, k, metric=metric, backend=name, random_state=0)[1]


def worker(name, path, k, metric):
    """Time one search in this process; print what was measured."""
    warnings.simplefilter("ignore")
    X = np.load(path)
    search(name, X[:N_WARM], k, metric)
    clock, processor = time.perf_counter(), time.process_time()
    found = search(name, X, k, metric)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    exact = knn(X, k + 1, queries=X[:N_KNOWN], metric=metric)[1]
    own = np.arange(N_KNOWN)[:, None]
    recall = np.mean([np.isin(a[a != i][:k], b).mean() for i, a, b in zip(own, exact, found)])
    print(
        json.dumps({"clock": round(clock, 2), "processor": round(processor, 2), "recall": round(recall, 4)})
    )


def main(options):
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        stored = str(pathlib.Path(folder) / "X.npy")
        for n_columns in options.columns:
            data, X = rows_of(options.npz, options.rows, n_columns)
            np.save(stored, X)
            for metric in options.metrics:
                for k in options.neighbors:
                    for name in options.searches:
                        command = [sys.executable, __file__, "--worker", name, stored, str(k), metric]
                        run = subprocess.run(command, capture_output=True, text=True)
                        if run.returncode:
                            print(f"{name:12s} {run.stderr.strip().splitlines()[-1]}")
                            continue
                        case = {"data": data, "rows": len(X), "columns": X.shape[1], "metric": metric, "k": k}
                        figures.append(case | {"search": name} | json.loads(run.stdout.splitlines()[-1]))
                        print(*figures[-1].values(), sep="  ", flush=True)
    print(f"written to {write(__file__, figures, *options.variant)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("npz", nargs="?", help="a file with an array X; without it, blobs")
    parser.add_argument("--rows", type=int, help="so many of them (default: all; 70 000 blobs)")
    parser.add_argument("--columns", type=int, nargs="+", default=[50])
    parser.add_argument("--metrics", nargs="+", default=["euclidean"], choices=["euclidean", "cosine"])
    parser.add_argument("--neighbors", type=int, nargs="+", default=[15])
    parser.add_argument("--searches", nargs="+", default=SEARCHES)
    parser.add_argument("--variant", nargs="*", default=[], help="added to the name of the file of figures")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker[0], given.worker[1], int(given.worker[2]), given.worker[3])
    else:
        main(given)
