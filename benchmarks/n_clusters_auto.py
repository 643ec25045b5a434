"""How near is n_clusters="auto" to the number of classes, and how near are other criteria?

For every labelled set: the number of classes, what ICONClustering("auto") used, and what the largest relative gap
of merges, the largest eigengap (alone, and times the stability), the greatest stability and the least hard loss would
have suggested (all from columns of ``merge_path_``).  A suggestion within a factor of two of the classes counts as
near.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import write
from _sets import real_sets

from iconlearn import ICONClustering

CRITERIA = {
    "score": lambda path: path.score.argmax(),
    "eigengap": lambda path: path.eigengap.argmax(),
    "eigengap, stability": lambda path: (path.eigengap * path.stability).argmax(),
    "relative gap": lambda path: path.relative_gap.argmax(),
    "stability": lambda path: path.stability.argmax(),
    "least loss": lambda path: path.loss.argmin(),
}


def main(folder, seeds):
    rows = []
    for name, X, y in real_sets(folder):
        for seed in range(seeds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # What is counted does not depend on how long the clusters are searched for.
                model = ICONClustering("auto", n_init=1, max_iter=1, random_state=seed).fit(X)
            path = model.merge_path_
            found = {key: int(path.n_clusters[pick(path)]) for key, pick in CRITERIA.items()}
            rows.append(
                {
                    "data": name,
                    "rows": len(X),
                    "classes": len(np.unique(y)),
                    "seed": seed,
                    "auto": model.n_clusters_,
                    **found,
                    "seconds": round(model.timings_["counting"], 2),
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    for key in ("auto", *CRITERIA):
        near = [0.5 <= row[key] / row["classes"] <= 2 for row in rows]
        print(f"{key:19s} within a factor of two on {sum(near)} of {len(near)} fits")
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a folder with the .npz files")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    main(options.data, options.seeds)
