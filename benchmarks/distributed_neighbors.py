"""How many neighbours does a search over several processes find, and what do these hold and send?

    python benchmarks/distributed_neighbors.py DATA [--rows 30000] [--ranks 2 4]

DATA is a folder with ``mnist.npz`` (arrays X and y), of which rows are reduced to 50 principal components.  Ranks are
processes of one machine that exchange by gloo; each has rows of its own, in their order of the file.  "recall" is the
share of the 15 nearest rows among all that are found, for 2000 of them.  "memory" is the peak of a process beyond what
it held before the search, in MiB; "sent" are megabytes that a rank hands over; seconds are of a process's CPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import mnist, write
from torch import distributed, multiprocessing

from iconlearn.distributed import shards
from iconlearn.neighbors import graph_of_all, knn

K = 15


def memory(name):
    """VmRSS, what this process holds, or VmHWM, its peak since that was set back, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def work(rank, size, folder, answers):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size
    )
    X = np.load(f"{folder}/X.npy", mmap_mode="r")
    X = np.array(X[rank * len(X) // size : (rank + 1) * len(X) // size])
    knn(X[:2000], K)  # what the first search loads
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = memory("VmRSS"), time.process_time()
    with shards() as group:
        graph = graph_of_all(group, X, K, random_state=0)
        seconds = time.process_time() - begun
        sent = {name: count for name, count in group.traffic.items() if name in ("exchanged", "gathered")}
        answers.put(
            (rank, graph.indices.reshape(-1, K), memory("VmHWM") - before, seconds, sum(sent.values()))
        )
    distributed.destroy_process_group()


def main(folder, n_rows, sizes):
    X, _ = mnist(folder)
    X = X[:n_rows] - X[:n_rows].mean(0)
    axes = np.linalg.eigh(X.T @ X)[1][:, -50:]
    X = X @ axes
    some = np.random.RandomState(0).permutation(n_rows)[:2000]
    nearest = knn(X, K + 1, queries=X[some])[1]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            np.save(f"{place}/X.npy", X)
            answers = multiprocessing.get_context("spawn").SimpleQueue()
            context = multiprocessing.spawn(work, (size, place, answers), nprocs=size, join=False)
            every = sorted((answers.get() for _ in range(size)), key=lambda answer: answer[0])
            while not context.join():
                pass
        found = np.concatenate([answer[1] for answer in every])[some]
        hits = [np.isin(a[a != row][:K], b).mean() for row, a, b in zip(some, nearest, found, strict=True)]
        row = {
            "rows": n_rows,
            "ranks": size,
            "recall": round(float(np.mean(hits)), 4),
            "memory": round(max(answer[2] for answer in every)),
            "seconds_of_a_cpu": round(max(answer[3] for answer in every), 1),
            "sent": round(max(answer[4] for answer in every) / 1e6, 1),
        }
        print(row, flush=True)
        rows.append(row)
    write(__file__, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    given = parser.parse_args()
    main(given.data, given.rows, given.ranks)
