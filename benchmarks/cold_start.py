"""How long does a fresh process take to embed 2 000 rows, imports included?

Each run is a new interpreter that imports the library, fits, and ends; ours and scikit-learn's take turns.  "numba"
says whether the process has loaded it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from _common import write

DATA = """
import numpy as np
from sklearn.datasets import make_blobs
X, _ = make_blobs({n}, n_features=50, centers=10, cluster_std=6.0, random_state=0)
X = X.astype(np.float32)
"""
FITS = {
    "ICONEmbedding": "from iconlearn import ICONEmbedding; ICONEmbedding(random_state=0).fit(X)",
    "sklearn TSNE": "from sklearn.manifold import TSNE; TSNE(random_state=0).fit(X)",
    "ICONClustering": "from iconlearn import ICONClustering; ICONClustering(10, random_state=0).fit(X)",
}


def main(n: int, runs: int) -> None:
    seconds, numba = {name: [] for name in FITS}, {}
    for _ in range(runs):
        for name, fit in FITS.items():
            begun = time.perf_counter()
            code = DATA.format(n=n) + fit + "; import sys; print('numba' in sys.modules)"
            told = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True
            ).stdout
            seconds[name].append(time.perf_counter() - begun)
            numba[name] = told.split()[-1] == "True"
    peer = statistics.median(seconds["sklearn TSNE"])
    rows = []
    for name, taken in seconds.items():
        median = statistics.median(taken)
        rows.append(
            {
                "fit": name,
                "rows": n,
                "runs": runs,
                "median_seconds": round(median, 2),
                "min_seconds": round(min(taken), 2),
                "ratio_to_TSNE": round(median / peer, 2),
                "numba": numba[name],
            }
        )
        print(
            f"{name:16s} median {median:6.2f} s   min {min(taken):6.2f} s   ratio to TSNE {median / peer:.2f}"
        )
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    main(options.rows, options.runs)
