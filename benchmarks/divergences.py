"""Which divergence clusters sentence features best? InfoNCE clustering of Banking77, by KL, TV, JSD and Hellinger.

    python benchmarks/divergences.py DATA [--seeds 0 1 2] [--starts k-means++] [--epochs 30] [--classes 77]

DATA holds banking77_minilm.npz (features of sentences, 384 columns, unit length, and their classes).  A linear
head is trained in mini-batches on walks over three neighbours with a uniform share, as the recipe does (of p and q for
KL, of q alone for the others; KL with the latter stands beside them), from two starts: k-means, which no divergence has
chosen, and the search of ICONClustering, which goes by the KL whatever the divergence is and leaves little to be done.
KMeans itself stands beside them.  Every fit is a row of the csv, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
import warnings

import numpy as np
from _common import RESULTS, append, rows_of
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score

from iconlearn import recipes
from iconlearn.metrics import clustering_accuracy

DIVERGENCES = ("kl", "kl, share on q alone", "total_variation", "jensen_shannon", "hellinger")
STARTS = ("k-means++", "agglomerate")
FIGURES = ("accuracy", "nmi", "cpu_seconds")


def data(folder, n_classes):
    path = pathlib.Path(folder) / "banking77_minilm.npz"
    if not path.exists():
        sys.exit(f"{path} is not there; give the folder that holds it")
    with np.load(path) as file:
        X, y = file["X"].astype(np.float32), file["y"]
    return X[y < n_classes], y[y < n_classes]


def ours(divergence, init, n_clusters, epochs, seed):
    """The recipe; it shares p too where the divergence is KL, unless it is told not to."""
    kind, _, alone = divergence.partition(",")
    model = recipes.debiased_infonce_clustering(
        n_clusters=n_clusters, divergence=kind, init=init, n_init=1, engine="minibatch", max_iter=epochs,
        random_state=seed,
    )  # fmt: skip
    return model.set_params(q__debias=model.debias, debias=0.0) if alone else model


def main(options):
    path = options.csv or RESULTS / "divergences.csv"
    if not options.report:
        measure(options, path)
    report(path)


def measure(options, path):
    """Fit what the csv at `path` lacks, and write a row for each fit."""
    X, y = data(options.data, options.classes)
    n_clusters = len(np.unique(y))
    for seed in options.seeds:
        methods = {("KMeans", "k-means++"): KMeans(n_clusters, n_init=10, random_state=seed)}
        for init in options.starts:
            for divergence in DIVERGENCES:
                methods[divergence, init] = ours(divergence, init, n_clusters, options.epochs, seed)
        for (name, init), method in methods.items():
            place = {"rows": len(X), "method": name, "start": init, "seed": seed}
            if rows_of(path, **place):
                continue
            begun = time.process_time()
            labels = method.fit(X).labels_
            seconds = time.process_time() - begun
            figures = clustering_accuracy(y, labels), normalized_mutual_info_score(y, labels), seconds
            row = {**place, **{k: round(float(v), 4) for k, v in zip(FIGURES, figures, strict=True)}}
            append(path, row)
            print(*row.values(), flush=True)


def report(path):
    """Means over the seeds, and how accuracies differ between them."""
    groups = {}
    for row in rows_of(path):
        groups.setdefault((row["rows"], row["method"], row["start"]), []).append(
            [float(row[name]) for name in FIGURES]
        )
    for (rows, name, init), found in groups.items():
        accuracy, nmi, seconds = np.mean(found, axis=0)
        print(
            f"{rows:>6} {name:<22} {init:<12} accuracy {accuracy:.3f} +- {np.std(found, axis=0)[0]:.3f}  NMI {nmi:.3f}"
            f"  {seconds:.0f} s  ({len(found)} seeds)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="folder with banking77_minilm.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--starts", nargs="+", default=STARTS, choices=STARTS)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--classes", type=int, default=77, help="the first so many of the classes")
    parser.add_argument("--csv", type=pathlib.Path, help="another place for the figures")
    parser.add_argument("--report", action="store_true", help="print the means of what is in the csv")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        main(options)
