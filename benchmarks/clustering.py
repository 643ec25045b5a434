"""Is ICONClustering worth switching to? Labels of real sets and of shapes beside eight usual ways to clusters.

Defaults everywhere (and one setting of ours besides, for the shapes), the true number of clusters given to all;
HDBSCAN and Leiden, which do not take it, get the smallest cluster size and the resolution that come nearest.  All
see the same features (see _labelled.py).
Each fit runs in a process of its own, after a small one that loads and compiles what it needs; one that takes
more than fifteen minutes or 16 GiB did not finish and is ranked last.  What is in the csv is not run again.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
from _clusterers import CLUSTERERS, FOR_SHAPES
from _common import RESULTS, machine
from _further import FURTHER
from _labelled import SETS, features, noise, shapes
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from iconlearn.metrics import clustering_accuracy

EVERY = CLUSTERERS | FOR_SHAPES
SECONDS, BYTES = 900, 16 * 2**30
FIGURES = ("accuracy", "nmi", "ari")


def one(folder, data, method, seed):
    """Fit once and print the figures as JSON; runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    warnings.simplefilter("ignore")
    X, y = features(data, folder)
    scored = ~noise(data, y)
    n_clusters, fit = len(np.unique(y[scored])), EVERY[method]
    fit(X[: max(200, 2 * n_clusters)], min(n_clusters, 5), seed)
    begun, used = time.perf_counter(), time.process_time()
    labels = fit(X, n_clusters, seed)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    y, labels = y[scored], labels[scored]
    print(
        json.dumps(
            {
                "rows": len(X),
                "columns": X.shape[1],
                "clusters": n_clusters,
                "found": len(np.unique(labels)),
                "accuracy": round(clustering_accuracy(y, labels), 4),
                "nmi": round(normalized_mutual_info_score(y, labels), 4),
                "ari": round(adjusted_rand_score(y, labels), 4),
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu, 2),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


def measured(folder, data, method, seed):
    """The figures of one fit; empty ones where it did not finish."""
    command = [sys.executable, __file__, str(folder), "--one", data, method, str(seed)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 60, check=False)
    except subprocess.TimeoutExpired:
        return {"status": f"over {SECONDS} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
        return {"status": last[:120]}
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {"status": "done" if figures["seconds"] <= SECONDS else f"over {SECONDS} s", **figures}


COLUMNS = (
    "data", "method", "seed", "status", "rows", "columns", "clusters", "found", *FIGURES,
    "seconds", "cpu_seconds", "peak_mib", *machine(),
)  # fmt: skip


def run(folder, names, methods, seeds, path):
    """Fill in what the csv at `path` lacks, a row at a time."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)
    known = pd.read_csv(path)
    done = set(zip(known.data, known.method, known.seed, strict=True))
    for data in names:
        for seed in range(seeds):
            for method in methods:
                if (data, method, seed) in done:
                    continue
                row = {"data": data, "method": method, "seed": seed}
                row = {**row, **measured(folder, data, method, seed), **machine()}
                with path.open("a", newline="") as file:
                    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
                print("{data:22s} {method:24s} {seed} {status:6s} ".format(**row), end="")
                print(*(f"{name} {row[name]}" for name in (*FIGURES, "seconds") if name in row), flush=True)


def report(path):
    """Tables of means over seeds, mean ranks (those that did not finish last), spreads, and losses to KMeans."""
    table = pd.read_csv(path)
    table.loc[table.status != "done", list(FIGURES)] = np.nan
    for figure in FIGURES:
        means = table.pivot_table(index="data", columns="method", values=figure, dropna=False, sort=False)
        means = means[[name for name in EVERY if name in means]]
        ranks = means.fillna(-1.0).rank(axis=1, ascending=False)
        spread = table.groupby(["data", "method"])[figure].std().unstack()[means.columns]
        rows = pd.DataFrame(
            {
                "mean rank": ranks.mean(),
                "mean": means.mean(),
                "mean spread": spread.mean(),
                "did not finish": means.isna().sum(),
            }
        )
        print(f"\n{figure}\n{means.round(3).to_string(na_rep='-')}\n\n{rows.round(3).to_string()}")
        if {"ICONClustering", "KMeans"} <= set(means):
            lost = (means["KMeans"] - means["ICONClustering"]).round(3)
            print("more than two points below KMeans:", lost[lost > 0.02].to_dict() or "nowhere")


def main(options):
    chosen = options.sets or (
        shapes(options.data) if options.shapes else list(FURTHER if options.further else SETS)
    )
    methods = options.methods or list(EVERY if options.shapes else CLUSTERERS)
    name = (
        "clustering_shapes" if options.shapes else "clustering_further" if options.further else "clustering"
    )
    path = options.csv or RESULTS / f"{name}.csv"
    if not options.report:
        run(options.data, chosen, methods, options.seeds, path)
    report(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path, help="folder with the sets")
    parser.add_argument("--shapes", action="store_true", help="the shapes of the benchmark suite instead")
    parser.add_argument(
        "--further", action="store_true", help="descriptions that are in no sweep of defaults"
    )
    parser.add_argument("--sets", nargs="+", help="only these sets")
    parser.add_argument("--methods", nargs="+", choices=EVERY, help="only these methods")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--csv", type=pathlib.Path, help="another place for the figures")
    parser.add_argument("--report", action="store_true", help="print the tables of what is in the csv")
    parser.add_argument("--one", nargs=3, metavar=("SET", "METHOD", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.data, options.one[0], options.one[1], int(options.one[2]))
    else:
        main(options)
