"""Are the probabilities of a clustering where its mistakes are, and do they say how often it is right?

Labels are the same in every row of a set: the assignments that minimise the loss give them.  How sure each row is of
its own label is compared: by its assignment as such, and by `predict_proba`.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import mnist, write
from _sets import real_sets
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, confusion_matrix, roc_auc_score

from iconlearn import ICONClustering

# The rows that are kept, and the groups of like confidence among which calibration is looked at.
COVERAGE, N_GROUPS = 0.95, 15


def right(y, labels):
    """Which rows have the class that their cluster is matched to."""
    table = confusion_matrix(y, labels)
    clusters, classes = linear_sum_assignment(-table.T)
    matched = np.full(len(table), -1)
    matched[clusters] = classes
    return matched[labels] == y


def figures(y, labels, sure):
    """ARI of the surest rows, share of the mistakes among the others, area under the curve, and calibration error."""
    hits = right(y, labels)
    order = np.argsort(-sure, kind="stable")
    kept = order[: round(COVERAGE * len(y))]
    groups = np.array_split(order, N_GROUPS)
    gap = sum(len(rows) * abs(sure[rows].mean() - hits[rows].mean()) for rows in groups) / len(y)
    return {
        "ari": round(adjusted_rand_score(y, labels), 4),
        "ari_surest": round(adjusted_rand_score(y[kept], labels[kept]), 4),
        "mistakes_left_out": round(1 - (~hits[kept]).sum() / max((~hits).sum(), 1), 4),
        "auc": round(roc_auc_score(~hits, -sure), 4) if 0 < hits.sum() < len(y) else "",
        "calibration_error": round(float(gap), 4),
    }


def sets(folder):
    X, y = mnist(folder)
    yield "mnist, 70 000", PCA(50, random_state=0).fit_transform(X), y
    yield from real_sets(folder)


def main(folder):
    rows = []
    for name, X, y in sets(folder):
        y = np.unique(y, return_inverse=True)[1]
        model = ICONClustering(int(y.max()) + 1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            r = model.fit_transform(X)
        for kind, shares in (("assignments", r), ("predict_proba", model.probabilities_)):
            rows.append({"data": name, "sure_by": kind, **figures(y, model.labels_, shares.max(axis=1))})
            print(rows[-1], flush=True)
    print(write(__file__, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", metavar="DATA", help="a folder with mnist.npz and the sets that _sets.py names"
    )
    main(parser.parse_args().data)
