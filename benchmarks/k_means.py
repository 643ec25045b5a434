"""Is the recipe for k-means as quick as scikit-learn's KMeans, and does it find the same?

    python benchmarks/k_means.py [--rows 4000 20000]

Both start from the means of the same random labels and go on until no label changes: on the digits of scikit-learn, and
on mixtures of twenty wide normal clusters in 64 columns.  Seconds of processor time are the median of some fits on one
thread, after one that loads; those for the loss, which needs all pairs and is found when it is asked for, stand beside.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch
from _common import write
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from iconlearn import recipes

N_CLUSTERS = 10


def sets(sizes):
    """Names and rows."""
    yield "digits", load_digits().data
    for size in sizes:
        yield "blobs", make_blobs(size, 64, centers=20, cluster_std=6.0, random_state=0)[0]


def timed(makes, n_fits):
    """Medians of the processor's seconds, taken in turn, and the last of what each made."""
    made, seconds = [make() for make in makes], [[] for _ in makes]
    for _ in range(n_fits):
        for k, make in enumerate(makes):
            begun = time.process_time()
            made[k] = make()
            seconds[k].append(time.process_time() - begun)
    return [median(s) for s in seconds], made


def inertia_of(X, labels):
    means = np.array([X[labels == c].mean(axis=0) for c in range(N_CLUSTERS)])
    return np.square(X - means[labels]).sum()


def compare(name, X, seed, n_fits):
    """One row of figures."""
    start = np.random.default_rng(seed).integers(N_CLUSTERS, size=len(X))
    means = np.array([X[start == c].mean(axis=0) for c in range(N_CLUSTERS)])

    def by_recipe():
        return recipes.k_means(n_clusters=N_CLUSTERS, init=start, random_state=0).fit(X)

    def by_sklearn():
        return KMeans(N_CLUSTERS, init=means, n_init=1, tol=0).fit(X)

    (ours, theirs), (model, fitted) = timed([by_recipe, by_sklearn], n_fits)
    begun = time.process_time()
    loss = model.loss_
    return {
        "set": name,
        "rows": len(X),
        "seed": seed,
        "sklearn_seconds": round(theirs, 5),
        "seconds": round(ours, 5),
        "ratio": round(ours / theirs, 2),
        "loss_seconds": round(time.process_time() - begun, 3),
        "sklearn_steps": fitted.n_iter_,
        "steps": model.n_iter_,
        "ari": round(adjusted_rand_score(model.labels_, fitted.labels_), 6),
        "relative_inertia": round(float(inertia_of(X, model.labels_) / fitted.inertia_), 9),
        "loss": loss,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[4000, 20000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fits", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with threadpool_limits(1):
        for name, X in sets(options.rows):
            for seed in range(options.seeds):
                rows.append(compare(name, X, seed, options.fits))
                print(rows[-1], flush=True)
    print(write(__file__, rows))


if __name__ == "__main__":
    main()
