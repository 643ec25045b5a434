"""What does a process of a distributed fit hold, and what does it send at each step? 1, 2 and 4 processes on MNIST.

    python benchmarks/distributed.py DATA

Memory is the peak of a process beyond its imports, so far, bytes are those that it hands over in exchanges (counted by
``group.traffic``), and seconds are of its CPU: all processes share one machine here, whose clock says nothing.  It
prints, and writes no file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import machine, mnist
from torch import distributed, multiprocessing

from iconlearn import ICONClassifier, ICONEmbedding
from iconlearn.distributed import shards
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine
from iconlearn.supervisory import Views

SIZES = (1, 2, 4)
BATCH = 1000


def fits():
    few = {"random_state": 0, "device": "cpu"}
    batches = {"mapper": "mlp", "engine": MiniBatch(BATCH), "max_iter": 1, **few}
    return {
        "logistic regression, all rows": ICONClassifier(max_iter=10, **few),
        "MLP, batches": ICONClassifier(**batches),
        "SimCLR, batches": ICONEmbedding(16, p=Views("mask"), q=Cosine(temperature=0.2), **batches),
    }


def memory(name):
    """VmRSS, what this process holds, or VmHWM, its peak since that was set back, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def work(rank, size, folder, answers):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/{size}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    Path("/proc/self/clear_refs").write_text("5")  # of imports, which do not count here
    before, found = memory("VmRSS"), {}
    X, y = (np.load(Path(folder) / f"{part}.npy", mmap_mode="r") for part in "Xy")
    own = slice(rank * len(X) // size, (rank + 1) * len(X) // size)
    X, y = np.array(X[own]), np.array(y[own])
    with shards() as group:
        for name, model in fits().items():
            begun, sent = time.process_time(), group.traffic.copy()
            model.fit(X, y)
            seconds, sent = time.process_time() - begun, group.traffic - sent
            found[name] = (memory("VmHWM") - before, seconds, model.loss_history_[-1], dict(sent))
    answers.put(found)
    distributed.destroy_process_group()


def main(folder, n_rows):
    X, y = mnist(folder)
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/X.npy", X[:n_rows])
        np.save(f"{place}/y.npy", y[:n_rows])
        for size in SIZES:
            answers = multiprocessing.get_context("spawn").SimpleQueue()
            multiprocessing.spawn(work, (size, place, answers), nprocs=size)
            every = [answers.get() for _ in range(size)]
            for name in every[0]:
                most, seconds, loss = (max(found[name][k] for found in every) for k in range(3))
                sent = max((found[name][3] for found in every), key=lambda counts: sum(counts.values()))
                print(
                    f"{size} processes, {name}: {most:.0f} MiB, {seconds:.1f} s of CPU, loss {loss:.6f}, {sent}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=70_000)
    given = parser.parse_args()
    main(given.data, given.rows)
