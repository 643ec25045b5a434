"""Where do maps lie between local and global: neighbours kept, and large distances in order, beside other libraries?

    python benchmarks/two_axes.py DATA [--rows 5000] [--methods ...]

DATA is a folder with ``mnist.npz`` (50 principal components) or another file of X and y, of which so many rows are
drawn.  Every fit has a process of its own, on one thread; methods whose library is not installed are left out.  One
axis is the share of the 15 nearest rows that are among the 15 nearest in the map, the other Spearman's correlation of
the distances of 200 000 pairs; triplets are those of three rows whose two distances from the first have the same order
in the map.  Seconds are those of the process's cores, with compilation (of libraries that compile at each start),
without imports.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from _common import features_of, is_data, write

N_PAIRS, K, N_VOTES = 200_000, 15, 10


def makers():
    """What makes a map of features, by name; the dial between local and global is ``global_weight``."""

    def ours(X):
        from iconlearn import ICONEmbedding

        return ICONEmbedding(random_state=0)

    def recipe(X):
        from iconlearn import recipes

        return recipes.tsne(random_state=0)

    def dreams(weight):
        def make(X):
            from iconlearn import recipes

            return recipes.dreams(global_weight=weight, random_state=0)

        return make

    def open_tsne(X):
        from openTSNE import TSNE

        return Fits(TSNE(n_jobs=1, random_state=0))

    def umap(X):
        from umap import UMAP

        return UMAP(n_jobs=1, random_state=0)

    def pacmap(name):
        def make(X):
            import pacmap

            return getattr(pacmap, name)(random_state=0)

        return make

    def trimap(X):
        from trimap import TRIMAP

        return TRIMAP(verbose=False)

    def pca(X):
        from sklearn.decomposition import PCA

        return PCA(2)

    return {
        "ICONEmbedding": ours,
        "recipes.tsne": recipe,
        **{f"recipes.dreams({weight})": dreams(weight) for weight in (1, 10, 100)},
        "openTSNE": open_tsne,
        "umap": umap,
        "PaCMAP": pacmap("PaCMAP"),
        "LocalMAP": pacmap("LocalMAP"),
        "TriMap": trimap,
        "PCA": pca,
    }


class Fits:
    """openTSNE's ``fit`` is the map."""

    def __init__(self, model):
        self.fit_transform = model.fit


def work(method, features, result):
    """One fit, in a process of its own."""
    X = np.load(features)
    model = makers()[method](X)
    begun = time.process_time()
    Z = np.asarray(model.fit_transform(X))
    np.savez(result, Z=Z, seconds=time.process_time() - begun)


def scores(X, y, Z):
    from scipy.spatial import cKDTree
    from scipy.stats import spearmanr

    def near(A):
        indices = cKDTree(A).query(A, K + 1)[1]
        return np.stack([row[row != i][:K] for i, row in enumerate(indices)])

    true, found = near(X), near(Z)
    i, j, k = np.random.default_rng(0).integers(0, len(X), (3, N_PAIRS))
    pairs = [[((A[i] - A[other]) ** 2).sum(1) for other in (j, k)] for A in (X, Z)]
    votes = np.apply_along_axis(np.bincount, 1, y[found[:, :N_VOTES]], minlength=y.max() + 1)
    return {
        "neighbours_kept": round(float((true[:, :, None] == found[:, None, :]).any(2).mean()), 4),
        "spearman": round(float(spearmanr(pairs[0][0], pairs[1][0])[0]), 4),
        "triplets": round(float(((pairs[0][0] < pairs[0][1]) == (pairs[1][0] < pairs[1][1])).mean()), 4),
        "label_accuracy": round(float((votes.argmax(1) == y).mean()), 4),
    }


def main(options):
    X, _, y = features_of(options.data)
    some = np.random.default_rng(0).permutation(len(X))[: options.rows]
    X, y, rows, path = X[some], y[some], [], None
    with tempfile.TemporaryDirectory() as folder:
        features, result = pathlib.Path(folder) / "X.npy", pathlib.Path(folder) / "Z.npz"
        np.save(features, X)
        for method in options.methods:
            command = [sys.executable, __file__, "--work", method, str(features), str(result)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                print(f"{method:24s} {run.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = np.load(result)
            figures = scores(X.astype(float), y, found["Z"].astype(float))
            rows.append({"method": method, "rows": len(X), "cpu_seconds": round(float(found["seconds"]), 1)})
            rows[-1] |= figures
            print(f"{method:24s} {rows[-1]['cpu_seconds']:7.1f} s  {figures}", flush=True)
            path = write(__file__, rows)
    print(f"written to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder with mnist.npz, or a file")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--methods", nargs="+", default=list(makers()))
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(*chosen.work)
    elif not is_data(chosen.data):
        print("mnist.npz is not there; give the folder that holds it, or another file of X and y")
    else:
        main(chosen)
