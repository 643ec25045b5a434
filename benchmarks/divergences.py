"""Which divergence clusters sentence features best? InfoNCE clustering of Banking77, by KL, TV, JSD and Hellinger.

    python benchmarks/divergences.py DATA [--seeds 3] [--epochs 30] [--classes 77]

DATA holds banking77_minilm.npz (features of sentences, 384 columns, unit length, and their classes).  A linear
head is trained in mini-batches on walks over three neighbours with a uniform share, as the recipe does, from two
starts: k-means, which no divergence has chosen, and the search of ICONClustering, which goes by the KL whatever
the divergence is and leaves little to be done.  KMeans itself stands beside them.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time
import warnings

import numpy as np
from _common import write
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score

from iconlearn import recipes
from iconlearn.metrics import clustering_accuracy

DIVERGENCES = ("kl", "total_variation", "jensen_shannon", "hellinger")
STARTS = ("k-means++", "agglomerate")


def data(folder, n_classes):
    path = pathlib.Path(folder) / "banking77_minilm.npz"
    if not path.exists():
        sys.exit(f"{path} is not there; give the folder that holds it")
    with np.load(path) as file:
        X, y = file["X"].astype(np.float32), file["y"]
    return X[y < n_classes], y[y < n_classes]


def ours(divergence, init, n_clusters, epochs, seed):
    return recipes.debiased_infonce_clustering(
        n_clusters=n_clusters, divergence=divergence, init=init, n_init=1, engine="minibatch", max_iter=epochs,
        random_state=seed,
    )  # fmt: skip


def main(options):
    X, y = data(options.data, options.classes)
    n_clusters, found = len(np.unique(y)), {}
    for seed in range(options.seeds):
        methods = {("KMeans", ""): KMeans(n_clusters, n_init=10, random_state=seed)}
        for init in STARTS:
            for divergence in DIVERGENCES:
                methods[divergence, init] = ours(divergence, init, n_clusters, options.epochs, seed)
        for (name, init), method in methods.items():
            begun = time.process_time()
            labels = method.fit(X).labels_
            scores = clustering_accuracy(y, labels), normalized_mutual_info_score(y, labels)
            found.setdefault((name, init), []).append((*scores, time.process_time() - begun))
            print(seed, name, init, np.round(found[name, init][-1], 3).tolist(), flush=True)
    rows = []
    for (name, init), figures in found.items():
        accuracy, nmi, seconds = np.mean(figures, axis=0)
        rows.append(
            {
                "rows": len(X),
                "divergence": name,
                "start": init,
                "accuracy": round(float(accuracy), 4),
                "accuracy_sd": round(float(np.std(figures, axis=0)[0]), 4),
                "nmi": round(float(nmi), 4),
                "cpu_seconds": round(float(seconds), 1),
                "seeds": len(figures),
            }
        )
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="folder with banking77_minilm.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--classes", type=int, default=77, help="the first so many of the classes")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        main(options)
