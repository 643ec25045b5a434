"""How long does a map take, of MNIST or other rows, and how good is it, beside openTSNE, umap-learn and PaCMAP?

    python benchmarks/embedding.py DATA [--methods ... | --kernels] [--runs 3] [--raw] [--cold]

DATA is a folder with ``mnist.npz`` (arrays X and y; 50 principal components), or another such file, whose columns are
taken as they are.  Every fit has a process of its own; the methods take
turns.  "warm" is the time of the fit alone, after one of 6 000 rows that compiles what there is to compile;
with ``--cold`` it is the whole process, imports and compilation included.  ``--kernels`` compares our own kernels
and three dimensions with the default.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from _common import features_of, is_data, write

N_JOBS = 2
PEERS = ("ICONEmbedding", "recipes.tsne", "openTSNE", "umap", "pacmap")
KERNELS = ("ICONEmbedding", "ICONEmbedding 3-D", "ICONEmbedding gaussian", "ICONEmbedding dof 0.5")
# Methods that minimise the joint KL of t-SNE.
JOINT = ("recipes.tsne", "openTSNE")


def fits():
    """How each method makes a map of features."""

    def default(X):
        from iconlearn import ICONEmbedding

        return ICONEmbedding(random_state=0).fit_transform(X)

    def recipe(X):
        from iconlearn import recipes

        return recipes.tsne(perplexity=30, random_state=0).fit_transform(X)

    def width_3(X):
        from iconlearn import ICONEmbedding

        return ICONEmbedding(3, random_state=0).fit_transform(X)

    def sne(X):
        from iconlearn import ICONEmbedding

        return ICONEmbedding(q="gaussian", random_state=0).fit_transform(X)

    def heavy(X):
        from iconlearn import ICONEmbedding
        from iconlearn.learned import Student

        return ICONEmbedding(q=Student(0.5), random_state=0).fit_transform(X)

    def open_tsne(X):
        from openTSNE import TSNE

        return np.asarray(TSNE(n_jobs=N_JOBS, random_state=0).fit(X))

    def umap(X):
        from umap import UMAP

        return UMAP(n_jobs=N_JOBS).fit_transform(X)

    def pacmap(X):
        from pacmap import PaCMAP

        return PaCMAP(random_state=0, verbose=False).fit_transform(X)

    return {
        "ICONEmbedding": default,
        "recipes.tsne": recipe,
        "ICONEmbedding 3-D": width_3,
        "ICONEmbedding gaussian": sne,
        "ICONEmbedding dof 0.5": heavy,
        "openTSNE": open_tsne,
        "umap": umap,
        "pacmap": pacmap,
    }


def work(method, features, result, cold):
    """One fit, in a process of its own."""
    X = np.load(features)
    fit = fits()[method]
    if not cold:
        fit(X[:6000])
    begun = time.perf_counter()
    Z = fit(X)
    np.savez(result, Z=Z, seconds=time.perf_counter() - begun)


def scores(X, y, Z, P, true):
    """Recall of 15 neighbours, label accuracy of 10 neighbours, triplet order; joint KL on the shared p."""
    from iconlearn.metrics import joint_kl
    from iconlearn.neighbors import knn

    near = knn(np.ascontiguousarray(Z, dtype=np.float32), 15, backend="exact" if Z.shape[1] > 3 else "auto")[
        1
    ]
    recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(near, true, strict=True)]) / 15
    votes = np.apply_along_axis(np.bincount, 1, y[near[:, :10]], minlength=y.max() + 1)
    i, j, k = np.random.default_rng(0).integers(0, len(X), (3, 200_000))
    order = [((A[i] - A[j]) ** 2).sum(1) < ((A[i] - A[k]) ** 2).sum(1) for A in (X, Z)]
    return {
        "joint_kl": "" if P is None else round(joint_kl(P, Z), 4),
        "recall_15": round(float(recall), 4),
        "label_accuracy": round(float((votes.argmax(1) == y).mean()), 4),
        "triplets": round(float((order[0] == order[1]).mean()), 4),
    }


def shared_p(X):
    """t-SNE's joint p at perplexity 30, and the true 15 neighbours."""
    from scipy import sparse

    from iconlearn.neighbors import knn
    from iconlearn.supervisory import Gaussian

    edges = Gaussian(30, search="exact").fit(X).conditional_.sparse()
    P = sparse.csr_array((edges + edges.T) / (2 * len(X)))
    return P, knn(X, 15, backend="exact")[1]


def main(options):
    with tempfile.TemporaryDirectory() as folder:
        X, raw, y = features_of(options.data)
        if options.rows:
            X, raw, y = X[: options.rows], raw[: options.rows], y[: options.rows]
        features, result = pathlib.Path(folder) / "X.npy", pathlib.Path(folder) / "Z.npz"
        np.save(features, raw if options.raw else X)
        P, true = shared_p(X)
        seconds, best = {m: [] for m in options.methods}, {}
        for _ in range(options.runs):
            for method in options.methods:
                command = [sys.executable, __file__, "--work", method, str(features), str(result)]
                begun = time.perf_counter()
                subprocess.run(command + ["--cold"] * options.cold, check=True, capture_output=True)
                whole = time.perf_counter() - begun
                found = np.load(result)
                seconds[method].append(whole if options.cold else float(found["seconds"]))
                if method not in best:
                    best[method] = scores(X, y, found["Z"], P if method in JOINT else None, true)
                print(f"{method:24s} {seconds[method][-1]:7.1f} s  {best[method]}", flush=True)
    rows = [
        {
            "method": method,
            "rows": len(X),
            "columns": raw.shape[1] if options.raw else X.shape[1],
            "start": "cold" if options.cold else "warm",
            "median_seconds": round(statistics.median(taken), 1),
            "runs": len(taken),
            **best[method],
        }
        for method, taken in seconds.items()
    ]
    data = pathlib.Path(options.data)
    variant = [name for name in ("kernels", "raw", "cold") if getattr(options, name)] + [
        data.stem
    ] * data.is_file()
    print(f"written to {write(__file__, rows, *variant)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder with mnist.npz, or a file")
    parser.add_argument("--methods", nargs="+", default=PEERS)
    parser.add_argument("--kernels", action="store_true", help="our own kernels instead of peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="only so many rows")
    parser.add_argument("--raw", action="store_true", help="start from the 784 pixels")
    parser.add_argument("--cold", action="store_true", help="time whole processes")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.methods = KERNELS if chosen.kernels else chosen.methods
    if chosen.work:
        work(*chosen.work, chosen.cold)
    elif not is_data(chosen.data):
        print("mnist.npz is not there; give the folder that holds it, or another file of X and y")
    else:
        main(chosen)
