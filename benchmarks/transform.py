"""How long do new rows take to find their places beside a map of MNIST, and do they land among their kind?

    python benchmarks/transform.py DATA [--components 2] [--runs 3]

DATA is a folder with ``mnist.npz``.  The map is of 60 000 rows in 50 principal components; the other 10 000
come all at once, and some of them one by one.  Accuracies are those of ten neighbours in the map: of the
training rows by leaving each out, and of the new rows.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time

import numpy as np
from _common import mnist, write

N_TRAIN, N_ALONE, K = 60_000, 100, 10


def votes(labels, near):
    return np.apply_along_axis(np.bincount, 1, labels[near], minlength=labels.max() + 1).argmax(1)


def main(options):
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    from iconlearn import ICONEmbedding

    raw, y = mnist(options.data)
    order = np.random.default_rng(0).permutation(len(raw))
    train, new = order[: options.rows], order[-10_000:]
    axes = PCA(50, random_state=0).fit(raw[train])
    X, X_new = (axes.transform(raw[part]).astype(np.float32) for part in (train, new))
    model = ICONEmbedding(options.components, random_state=0).fit(X)
    model.transform(X_new[:10])
    together, alone = [], []
    for _ in range(options.runs):
        begun = time.perf_counter()
        Z_new = model.transform(X_new)
        together.append(time.perf_counter() - begun)
    for k in range(N_ALONE):
        begun = time.perf_counter()
        model.transform(X_new[k : k + 1])
        alone.append(1e3 * (time.perf_counter() - begun))
    Z = model.embedding_
    search = NearestNeighbors(n_neighbors=K).fit(Z)
    rows = [
        {
            "rows": len(X),
            "components": options.components,
            "fit_seconds": round(sum(model.timings_.values()), 1),
            "new_rows": len(X_new),
            "median_seconds": round(statistics.median(together), 2),
            "one_row_median_ms": round(statistics.median(alone), 1),
            "one_row_95_percent_ms": round(float(np.quantile(alone, 0.95)), 1),
            "one_row_slowest_ms": round(max(alone), 1),
            "accuracy_left_out": round(
                float((votes(y[train], search.kneighbors()[1]) == y[train]).mean()), 4
            ),
            "accuracy_new": round(float((votes(y[train], search.kneighbors(Z_new)[1]) == y[new]).mean()), 4),
        }
    ]
    print(rows[0])
    print(f"written to {write(__file__, rows, *['3d'] * (options.components == 3))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with mnist.npz")
    parser.add_argument("--components", type=int, default=2)
    parser.add_argument("--rows", type=int, default=N_TRAIN, help="training rows")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    if not (pathlib.Path(chosen.data) / "mnist.npz").exists():
        print("mnist.npz is not there; give the folder that holds it")
    else:
        main(chosen)
