"""Cross-modal retrieval on two-view digits: recall at 1 of held-out rows, by CLIP, CMC and CCA.

    python benchmarks/two_views.py DATA

DATA holds mv_mfeat.npz (arrays X1 ... X6, rows paired); the views are X1 (216 profile correlations) and X5 (240
pixel averages).
"""

from __future__ import annotations

import pathlib
import sys
import time

import numpy as np
from _common import write
from sklearn.cross_decomposition import CCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, normalize

from iconlearn import recipes

WIDTH = 32


def retrieval(A, B):
    """Share of rows whose most similar row in the other view is their own, both ways."""
    similar = normalize(A) @ normalize(B).T
    own = np.arange(len(A))
    return 0.5 * ((similar.argmax(1) == own).mean() + (similar.argmax(0) == own).mean())


def ours(make, train, test, split):
    model = make(split=split, n_components=WIDTH, mapper="linear", max_iter=300, random_state=0).fit(train)
    return model.transform(test), model.transform_columns(test)


def main(folder):
    path = pathlib.Path(folder) / "mv_mfeat.npz"
    if not path.exists():
        sys.exit(f"{path} is not there; give the folder that holds it")
    with np.load(path) as data:
        X1, X5 = data["X1"].astype(np.float32), data["X5"].astype(np.float32)
    split, rows = X1.shape[1], []
    for seed in range(3):
        train, test = train_test_split(np.hstack([X1, X5]), test_size=500, random_state=seed)
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
        methods = {
            "CLIP": lambda train=train, test=test: ours(recipes.clip, train, test, split),
            "CMC": lambda train=train, test=test: ours(recipes.cmc, train, test, split),
            "CCA": lambda train=train, test=test: (
                CCA(WIDTH, max_iter=2000)
                .fit(train[:, :split], train[:, split:])
                .transform(test[:, :split], test[:, split:])
            ),
        }
        for name, run in methods.items():
            begun = time.process_time()
            recall = retrieval(*run())
            rows.append(
                {
                    "method": name,
                    "seed": seed,
                    "recall_at_1": recall,
                    "cpu_seconds": round(time.process_time() - begun, 2),
                }
            )
            print(f"seed {seed} {name:<5} recall@1 {recall:.3f}  {rows[-1]['cpu_seconds']:.1f} s", flush=True)
    print("written to", write(__file__, rows))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
