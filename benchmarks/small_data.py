"""How good are the defaults on ten to two hundred rows? Clusters beside KMeans, maps beside principal components.

    python benchmarks/small_data.py [--draws 10]

Every draw takes the first rows of a seeded permutation.  Clusters: adjusted Rand index, beside KMeans with ten starts.
Maps: how many of three nearest rows stay among the three nearest places, beside the first two principal components.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import write
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine, make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import scale

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.metrics import neighbor_recall

CLUSTERS = {"digits": (50, 80, 120, 200), "iris": (15, 24, 36, 60), "wine": (15, 24, 36, 60)}
MAPS = {"digits": (10, 16, 17, 20, 25, 32, 45), "wine": (10, 16, 17, 20, 25, 32, 45)}
FAR = [[0, 0], [30, 0], [0, 30]]
SIX = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])


def sets():
    """Features and classes of each set; wine is scaled."""
    wine = load_wine()
    return {
        "digits": load_digits(return_X_y=True),
        "iris": load_iris(return_X_y=True),
        "wine": (scale(wine.data), wine.target),
    }


def rows_of(data, n, seed):
    """The rows of one draw."""
    rows = np.random.RandomState(seed).permutation(len(data[0]))[:n]
    return data[0][rows], data[1][rows]


def made(seed):
    """Groups that nobody doubts."""
    return {
        "three blobs of 10": make_blobs([10] * 3, centers=FAR, random_state=seed),
        "three blobs of 15": make_blobs([15] * 3, centers=FAR, random_state=seed),
        "six points": (SIX, np.repeat([0, 1], 3)),
        "five rows, ten times each": (np.repeat(np.eye(5), 10, axis=0), np.repeat(np.arange(5), 10)),
    }


def clusters(X, y, seed):
    """Adjusted Rand index of ours and of KMeans."""
    k = int(y.max()) + 1
    return [
        adjusted_rand_score(y, model.fit(X).labels_)
        for model in (ICONClustering(k, random_state=seed), KMeans(k, n_init=10, random_state=seed))
    ]


def kept(X, seed):
    """Of three neighbours, those that our map and two principal components keep."""
    ours = ICONEmbedding(random_state=seed).fit_transform(X)
    return [neighbor_recall(X, Z, 3) for Z in (ours, PCA(2).fit_transform(X))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    data, draws, results = sets(), range(args.draws), []

    def report(task, name, n, found, peer):
        ours, theirs = np.mean(found, axis=0)
        print(f"{task:9} {name:26} {n:4}  ours {ours:.3f}  {peer} {theirs:.3f}", flush=True)
        results.append(
            {
                "task": task,
                "set": name,
                "rows": n,
                "draws": args.draws,
                "ours": ours,
                "peer": peer,
                "theirs": theirs,
            }
        )

    for name, sizes in CLUSTERS.items():
        for n in sizes:
            report("clusters", name, n, [clusters(*rows_of(data[name], n, s), s) for s in draws], "KMeans")
    for name in made(0):
        found = [clusters(*made(s)[name], s) for s in draws]
        report("clusters", name, len(made(0)[name][1]), found, "KMeans")
    for name, sizes in MAPS.items():
        for n in sizes:
            report("maps", name, n, [kept(rows_of(data[name], n, s)[0], s) for s in draws], "PCA")
    print(write(__file__, results))


if __name__ == "__main__":
    main()
