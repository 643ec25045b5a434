"""Which p, debias and start should ICONClustering take by default?

Fits candidates on labelled data sets that scikit-learn ships (and on any .npz files given, with arrays X and
y), with the true number of clusters, beside KMeans; accuracy by Hungarian matching and NMI, mean over seeds.
"""

from __future__ import annotations

import argparse
import pathlib
import time
import warnings

import numpy as np
from _common import write
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClustering
from iconlearn.metrics import clustering_accuracy
from iconlearn.supervisory import KNN, Gaussian, Symmetrize, Walk

CANDIDATES = {
    "KMeans(n_init=10)": lambda k, seed: KMeans(k, n_init=10, random_state=seed),
    "default: knn 15": lambda k, seed: ICONClustering(k, random_state=seed),
    "knn 10": lambda k, seed: ICONClustering(k, p=KNN(10), random_state=seed),
    "knn 30": lambda k, seed: ICONClustering(k, p=KNN(30), random_state=seed),
    "knn 15, debias 0.1": lambda k, seed: ICONClustering(k, debias=0.1, random_state=seed),
    "knn 15, debias 0.5": lambda k, seed: ICONClustering(k, debias=0.5, random_state=seed),
    "knn 15, union": lambda k, seed: ICONClustering(k, p=Symmetrize(KNN(15), "union"), random_state=seed),
    "knn 15, walk 2": lambda k, seed: ICONClustering(k, p=Walk(KNN(15), 2), random_state=seed),
    "gaussian 10": lambda k, seed: ICONClustering(k, p=Gaussian(10), random_state=seed),
    "gaussian 30": lambda k, seed: ICONClustering(k, p=Gaussian(30), random_state=seed),
    "knn 15, k-means start": lambda k, seed: ICONClustering(k, init="kmeans", random_state=seed),
    "knn 15, random start": lambda k, seed: ICONClustering(k, init="random", random_state=seed),
}


def shipped():
    """Data sets that come with scikit-learn; measurements in different units are standardised."""
    yield "digits", *load_digits(return_X_y=True)
    for name, load in (("wine", load_wine), ("breast_cancer", load_breast_cancer), ("iris", load_iris)):
        X, y = load(return_X_y=True)
        yield name, StandardScaler().fit_transform(X), y


def given(paths):
    for path in paths:
        with np.load(path) as data:
            X = data["X"].reshape(len(data["X"]), -1).astype(np.float32)
            yield pathlib.Path(path).stem, X, np.unique(data["y"], return_inverse=True)[1]


def main(paths, seeds):
    rows = []
    for data, X, y in (*shipped(), *given(paths)):
        for name, make in CANDIDATES.items():
            rows.append(measure(data, X, y, name, make, seeds))
            print(
                "{data:16s} {candidate:22s} accuracy {accuracy:.3f}  NMI {nmi:.3f}  {seconds:6.2f} s".format(
                    **rows[-1]
                )
            )
    print(f"written to {write(__file__, rows)}")


def measure(data, X, y, name, make, seeds):
    figures, begun = [], time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(seeds):
            labels = make(len(np.unique(y)), seed).fit_predict(X)
            figures.append((clustering_accuracy(y, labels), normalized_mutual_info_score(y, labels)))
    accuracy, nmi = np.array(figures).T
    return {
        "data": data,
        "rows": len(X),
        "candidate": name,
        "seeds": seeds,
        "accuracy": round(accuracy.mean(), 4),
        "accuracy_min": round(accuracy.min(), 4),
        "nmi": round(nmi.mean(), 4),
        "seconds": round((time.perf_counter() - begun) / seeds, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("npz", nargs="*", help="further data sets")
    options = parser.parse_args()
    main(options.npz, options.seeds)
