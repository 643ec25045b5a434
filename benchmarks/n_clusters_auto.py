"""How near is n_clusters="auto" to the number of classes, and how near are other criteria?

For every labelled set: the number of classes, what ICONClustering("auto") used, and what other criteria would have
suggested: of the columns of ``merge_path_`` the largest eigengap (alone, times exp(I) - 1, times the stability), the
largest relative gap of merges, the greatest stability and the least hard loss; the largest silhouette of k-means among
30 numbers from 2 to a tenth of the rows, 150 at most; and the clusters of PLSCAN, where fast_plscan is installed.  A
suggestion within a factor of two of the classes counts as near.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import write
from _sets import real_sets
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from iconlearn import ICONClustering

CRITERIA = {
    "score": lambda path: path.score.argmax(),
    "eigengap": lambda path: path.eigengap.argmax(),
    "eigengap, information": lambda path: (path.eigengap * np.expm1(path.information)).argmax(),
    "eigengap, stability": lambda path: (path.eigengap * path.stability).argmax(),
    "relative gap": lambda path: path.relative_gap.argmax(),
    "stability": lambda path: path.stability.argmax(),
    "least loss": lambda path: path.loss.argmin(),
}


def silhouette(X, seed):
    """The number of clusters by k-means of the largest silhouette, among at most 2 000 rows."""
    most = min(150, len(X) // 10)
    counts = np.unique(np.geomspace(2, most, 30).round().astype(int))
    rows = np.random.RandomState(seed).permutation(len(X))[:2000]
    found = [
        silhouette_score(X[rows], KMeans(k, n_init=1, random_state=seed).fit_predict(X)[rows]) for k in counts
    ]
    return int(counts[np.argmax(found)])


def plscan(X):
    """The number of clusters that PLSCAN finds by its defaults, or None."""
    try:
        from fast_plscan import PLSCAN
    except ImportError:
        return None
    return int(PLSCAN().fit(np.asarray(X, dtype=np.float32)).labels_.max()) + 1


def main(folder, seeds):
    rows = []
    for name, X, y in real_sets(folder):
        for seed in range(seeds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # What is counted does not depend on how long the clusters are searched for.
                model = ICONClustering("auto", n_init=1, max_iter=1, random_state=seed).fit(X)
            path = model.merge_path_
            peers = {"silhouette": silhouette(X, seed), "PLSCAN": plscan(X)}
            peers = {key: count for key, count in peers.items() if count is not None}
            found = {key: int(path.n_clusters[pick(path)]) for key, pick in CRITERIA.items()}
            rows.append(
                {
                    "data": name,
                    "rows": len(X),
                    "classes": len(np.unique(y)),
                    "seed": seed,
                    "auto": model.n_clusters_,
                    **found,
                    **peers,
                    "seconds": round(model.timings_["counting"], 2),
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    for key in ("auto", *CRITERIA, *peers):
        near = [0.5 <= row[key] / row["classes"] <= 2 for row in rows]
        print(f"{key:21s} within a factor of two on {sum(near)} of {len(near)} fits")
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a folder with the .npz files")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    main(options.data, options.seeds)
