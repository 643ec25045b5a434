"""What does a balance below 1 do for classes of very different sizes, and what does it cost where they are even?

Digits whose class sizes fall geometrically to a tenth and a twentieth, and real sets; the true number of clusters is
given; accuracy, NMI and ARI beside KMeans, means over seeds, and two scores that know no labels: would they choose a
balance well?
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import write
from _sets import long_tail, real_sets
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from iconlearn import ICONClustering
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy
from iconlearn.scorers import Stability
from iconlearn.supervisory import KNN

BALANCES = (1.0, 0.75, 0.5, 0.25)


def sets(folder):
    digits = load_digits(return_X_y=True)
    for smallest in (0.1, 0.05):
        for seed in range(3):
            yield f"digits, tail {smallest}, draw {seed}", *long_tail(*digits, smallest, seed)
    yield from real_sets(folder, max_rows=3000)


def main(folder, seeds):
    rows = []
    for name, X, y in sets(folder):
        k = len(np.unique(y))
        for candidate in ("KMeans", *BALANCES):
            figures = []
            for seed in range(seeds):
                if candidate == "KMeans":
                    model = KMeans(k, n_init=10, random_state=seed)
                else:
                    model = ICONClustering(k, p=KNN(15), q=Cluster(balance=candidate), random_state=seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    labels = model.fit_predict(X)
                scores = (clustering_accuracy, normalized_mutual_info_score, adjusted_rand_score)
                figures.append([score(y, labels) for score in scores])
            accuracy, nmi, ari = np.round(np.mean(figures, axis=0), 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                unseen = {
                    kind: round(Stability(agreement=kind)(model, X), 4) for kind in ("rand", "information")
                }
            candidate = candidate if candidate == "KMeans" else f"balance {candidate}"
            rows.append(
                {"data": name, "candidate": candidate, "accuracy": accuracy, "nmi": nmi, "ari": ari, **unseen}
            )
            print(
                "{data:26s} {candidate:13s} {accuracy:.3f} {nmi:.3f} {ari:.3f} {information:.3f}".format(
                    **rows[-1]
                ),
                flush=True,
            )
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a folder with the .npz files")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    main(options.data, options.seeds)
