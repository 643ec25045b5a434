"""How do clusters compare with those of EVoC, PLSCAN and HDBSCAN, which leave rows out, at equal coverage?

Each method runs where it is installed, and its labels are kept in a folder; so the script is run by every Python that
has some of them, and the table is of all that the folder holds.  Beside each peer that leaves rows out, the surest rows
of ICONClustering, as many as the peer has named, are scored.  Seconds are of the process' CPUs, of a second fit in the
same process: the first one compiles.
"""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import time
import warnings

import numpy as np
from _sets import real_sets
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, confusion_matrix, normalized_mutual_info_score

MNIST_ROWS = 15_000
NAMES = ("digits", "coil20", "agnews", "mnist")


def sets(folder, names):
    for name, X, y in real_sets(folder, max_rows=MNIST_ROWS):
        if name in names:
            yield name, np.ascontiguousarray(X, dtype=np.float32), np.unique(y, return_inverse=True)[1]


def icon(X, n_clusters):
    from iconlearn import ICONClustering

    model = ICONClustering(n_clusters, random_state=0).fit(X)
    return model.labels_, model.probabilities_.max(axis=1)


def kmeans(X, y):
    return KMeans(int(y.max()) + 1, n_init=10, random_state=0).fit_predict(X), None


def evoc(X, y):
    import evoc

    model = evoc.EVoC(random_state=0)
    return model.fit_predict(X), model.membership_strengths_


def evoc_best_layer(X, y):
    """Of its layers the one that the labels like best, as its own benchmark has it."""
    import evoc

    model = evoc.EVoC(random_state=0).fit(X)
    return max(model.cluster_layers_, key=lambda labels: scored(y, labels)["ari"]), None


def plscan(X, y):
    from fast_plscan import PLSCAN

    model = PLSCAN().fit(X)
    return model.labels_, model.probabilities_


def hdbscan(X, y):
    from fast_hdbscan import HDBSCAN

    model = HDBSCAN(min_cluster_size=20).fit(X)
    return model.labels_, model.probabilities_


METHODS = {
    "ICON, k given": ("iconlearn", lambda X, y: icon(X, int(y.max()) + 1)),
    "ICON, auto": ("iconlearn", lambda X, y: icon(X, "auto")),
    "KMeans, k given": ("sklearn", kmeans),
    "EVoC": ("evoc", evoc),
    "EVoC, best layer by y": ("evoc", evoc_best_layer),
    "PLSCAN": ("fast_plscan", plscan),
    # Beyond thirty columns fast_hdbscan 0.3.4 searches by pynndescent, which it does not install.
    "HDBSCAN (fast_hdbscan)": ("fast_hdbscan pynndescent", hdbscan),
}


def scored(y, labels):
    """Of the rows that have a cluster."""
    named = labels >= 0
    y, labels = y[named], labels[named]
    if not len(y):
        return {"accuracy": 0.0, "ari": 0.0, "nmi": 0.0}
    table = confusion_matrix(y, labels)
    return {
        "accuracy": table[linear_sum_assignment(-table)].sum() / len(y),
        "ari": adjusted_rand_score(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
    }


def main(folder, cache, names):
    cache.mkdir(parents=True, exist_ok=True)
    truth = {}
    for name, X, y in sets(folder, names):
        truth[name] = y
        for method, (modules, run) in METHODS.items():
            path = cache / f"{name}, {method}.npz".replace(" ", "_")
            if path.exists() or any(importlib.util.find_spec(name) is None for name in modules.split()):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run(X, y)
                begin = time.process_time()
                labels, sure = run(X, y)
            seconds = time.process_time() - begin
            np.savez(path, labels=labels, sure=np.zeros(0) if sure is None else sure, seconds=seconds)
    print("| data | method | clusters | named | accuracy | ARI | NMI | ICON's surest as many: ARI | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, y in truth.items():
        ours = cache / f"{name}, ICON, k given.npz".replace(" ", "_")
        for method in METHODS:
            path = cache / f"{name}, {method}.npz".replace(" ", "_")
            if not path.exists():
                continue
            with np.load(path) as file:
                labels, seconds = file["labels"], float(file["seconds"])
            figures, named, beside = scored(y, labels), (labels >= 0).mean(), ""
            if named < 1 and ours.exists():
                with np.load(ours) as file:
                    kept = np.argsort(-file["sure"], kind="stable")[: (labels >= 0).sum()]
                    beside = f"{adjusted_rand_score(y[kept], file['labels'][kept]):.3f}"
            cells = [f"{figures[key]:.3f}" for key in ("accuracy", "ari", "nmi")]
            cells = [name, method, str(labels.max() + 1), f"{named:.3f}", *cells, beside, f"{seconds:.1f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA", help="a folder with the sets that _sets.py names")
    parser.add_argument(
        "--cache", type=pathlib.Path, required=True, help="a folder that keeps the labels of each method"
    )
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    main(arguments.data, arguments.cache, arguments.sets)
