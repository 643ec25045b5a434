"""How do time and memory of a linear head with many clusters grow with the number of rows?

Random features with planted clusters lie in a file, so that the data themselves are no part of the memory.  Each
measurement runs in a process of its own: ``fit`` with the mini-batch engine on the whole, which keeps the neighbours
of every row, and ``partial_fit`` on slices of the file, which keeps nothing of them.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
from _common import write
from sklearn.metrics import normalized_mutual_info_score

from iconlearn import ICONClustering
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cluster

MODES = ("fit", "partial_fit")


def plant(folder, n_rows, n_columns, n_clusters):
    """Write features and planted labels, a stretch of rows at a time; half of the variance is between clusters."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(n_clusters, n_columns)).astype(np.float32)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n_rows, n_columns))
    y = rng.integers(n_clusters, size=n_rows)
    for start in range(0, n_rows, 10_000):
        part = slice(start, start + 10_000)
        X[part] = centers[y[part]] + rng.normal(size=(len(y[part]), n_columns))
    X.flush()
    np.save(folder / "y.npy", y)


def measure(folder, mode, n_clusters, batch, epochs, chunk):
    """One fit in this process: seconds, the growth of its peak memory in MiB, and NMI with what was planted."""
    X, y = np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy")
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    model = ICONClustering(
        n_clusters, q=Cluster(mass_momentum=0.9), mapper="linear", engine=MiniBatch(batch), init="k-means++",
        n_init=1, max_iter=epochs, random_state=0,
    )  # fmt: skip
    warnings.simplefilter("ignore")
    if mode == "fit":
        model.fit(X)
    else:
        for start in range(0, len(X), chunk):
            model.partial_fit(X[start : start + chunk])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    labels = np.concatenate([model.predict(X[start : start + chunk]) for start in range(0, len(X), chunk)])
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_mib": round(grown / 1024),
        "nmi": round(normalized_mutual_info_score(y, labels), 4),
        "clusters": len(np.unique(labels)),
    }


def main(options):
    rows = []
    for n_rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            plant(pathlib.Path(folder), n_rows, options.columns, options.clusters)
            for mode in options.modes:
                command = [sys.executable, __file__, "--child", folder, "--modes", mode]
                for name in ("clusters", "batch", "epochs", "chunk"):
                    command += [f"--{name}", str(getattr(options, name))]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                rows.append({"mode": mode, "rows": n_rows, "asked": options.clusters, **found})
                print(rows[-1], flush=True)
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--chunk", type=int, default=25_000)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--child", help="a folder with planted data; for the script's own use")
    options = parser.parse_args()
    if options.child is None:
        main(options)
    else:
        folder = pathlib.Path(options.child)
        print(
            json.dumps(
                measure(
                    folder, options.modes[0], options.clusters, options.batch, options.epochs, options.chunk
                )
            )
        )
