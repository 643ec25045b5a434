"""Which p, share, balance and start should ICONClustering take by default?

    python benchmarks/clustering_defaults.py DATA [--seeds 5] [--rows 10000]

Fits candidates on labelled sets, with the true number of clusters, beside KMeans; accuracy by Hungarian matching,
NMI, and the loss beside the one that refining the true labels gives: where the loss found is the lower of the two,
the search is not what is missing.  What is in the csv is not run again.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import time
import warnings

import numpy as np
import pandas as pd
from _common import RESULTS
from _labelled import features
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from iconlearn import ICONClustering
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy
from iconlearn.supervisory import KNN, Gaussian, Mix, Symmetrize, Walk

SETS = (
    "wine", "cancer", "iris", "dermatology", "vehicle", "vowel", "ecoli", "glass", "ionosphere", "yeast", "digits",
    "coil20", "bladder", "segment", "mfeat", "agnews", "pendigits", "banking77",
)  # fmt: skip

# All but KL need all pairs of rows.
DIVERGENCES, FEW_ROWS = ("jensen_shannon", "hellinger", "total_variation"), 1000
CANDIDATES = {
    "default": {},
    **{f"knn {k}": {"p": KNN(k)} for k in (10, 15, 25, 30, 50)},
    **{f"gaussian {u}": {"p": Gaussian(u, n_neighbors=3 * u)} for u in (10, 20, 30)},
    "union of knn 20": {"p": Symmetrize(KNN(20), "union")},
    "knn 10 + knn 30": {"p": Mix([KNN(10), KNN(30)])},
    "knn 10 + gaussian 30": {"p": Mix([KNN(10), Gaussian(30, n_neighbors=90)])},
    **{f"walk of {t} steps": {"p": Walk(KNN(10), t)} for t in (2, 3)},
    **{f"debias {a}": {"debias": a} for a in (0.1, 0.3, 0.6)},
    **{f"q's debias {a}": {"q": Cluster(debias=a)} for a in (0.1, 0.5)},
    **{f"balance {b:g}": {"q": Cluster(balance=b)} for b in (1.0, 0.85, 0.7, 0.5, 0.3, 0.1)},
    **{divergence: {"divergence": divergence} for divergence in DIVERGENCES},
    "k-means start": {"init": "kmeans"},
    "random start": {"init": "random"},
    "three times the search": {"n_init": 36},
}
COLUMNS = ("data", "rows", "candidate", "seed", "accuracy", "nmi", "loss", "loss_of_truth", "seconds")


def measure(X, y, options, seed):
    """One fit, and one from the true labels."""
    k, begun = len(np.unique(y)), time.perf_counter()
    if options is None:
        labels, model = KMeans(k, n_init=10, random_state=seed).fit_predict(X), None
    else:
        model = ICONClustering(k, **options, random_state=seed).fit(X)
        labels = model.labels_
    figures = {
        "accuracy": round(clustering_accuracy(y, labels), 4),
        "nmi": round(normalized_mutual_info_score(y, labels), 4),
        "seconds": round(time.perf_counter() - begun, 2),
    }
    if model is not None:
        same = {"q": clone(model.q_).set_params(balance=model.q_.balance_), "init": y, "n_init": 1}
        truth = ICONClustering(k, **{**options, **same}, random_state=seed).fit(X)
        figures |= {"loss": round(model.loss_, 5), "loss_of_truth": round(truth.loss_, 5)}
    return figures


def run(options, path):
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    known = pd.read_csv(path)
    done = set(zip(known.data, known.candidate, known.seed, strict=True))
    chosen = {name: CANDIDATES.get(name) for name in options.candidates or ["KMeans", *CANDIDATES]}
    for data in options.sets:
        X, y = features(data, options.data, options.rows)
        for seed in range(options.seeds):
            for name, parameters in chosen.items():
                if (data, name, seed) in done or (name in DIVERGENCES and len(X) > FEW_ROWS):
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    figures = measure(X, y, parameters, seed)
                row = {"data": data, "rows": len(X), "candidate": name, "seed": seed, **figures}
                with path.open("a", newline="") as file:
                    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
                print(*row.values(), flush=True)


def report(path):
    """Means over seeds, one column for each set."""
    table = pd.read_csv(path)
    for figure in ("accuracy", "nmi"):
        means = table.pivot_table(index="candidate", columns="data", values=figure, sort=False)
        print(
            f"\n{figure}, {table.seed.nunique()} seeds\n{means.assign(mean=means.mean(axis=1)).round(3).to_string()}"
        )
    found = table.dropna(subset=["loss"])
    short = found.loss > found.loss_of_truth + 1e-3
    print(f"\nfits whose loss lies above that of the refined truth: {short.sum()} of {len(found)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--candidates", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10_000, help="larger sets are sampled")
    parser.add_argument("--csv", type=pathlib.Path, help="another place for the figures")
    options = parser.parse_args()
    path = options.csv or RESULTS / "clustering_defaults.csv"
    run(options, path)
    report(path)
