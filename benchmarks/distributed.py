"""What does a process of a distributed fit hold, and what does it send at each step? 1, 2 and 4 processes on MNIST.

    python benchmarks/distributed.py DATA

Memory is the peak of a process beyond its imports, bytes are those that it hands over in exchanges (counted by
``group.traffic``), and seconds are of its CPU: all processes share one machine here, whose clock says nothing.  It
prints, and writes no file.
"""

from __future__ import annotations

import argparse
import resource
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


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(rank, size, folder, name, answers):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/{len(name)}-{size}", rank=rank, world_size=size
    )
    X, y = (np.load(Path(folder) / f"{part}.npy", mmap_mode="r") for part in "Xy")
    n = len(X)
    before = peak()
    own = slice(rank * n // size, (rank + 1) * n // size)
    X, y = np.array(X[own]), np.array(y[own])
    model = fits()[name]
    with shards() as group:
        begun = time.process_time()
        model.fit(X, y)
        seconds = time.process_time() - begun
        counted = dict(group.traffic)
    answers.put((rank, peak() - before, counted, seconds, model.loss_))
    distributed.destroy_process_group()


def main(folder, n_rows):
    X, y = mnist(folder)
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/X.npy", X[:n_rows].astype(np.float32))
        np.save(f"{place}/y.npy", y[:n_rows])
        spawn = multiprocessing.get_context("spawn")
        for name in fits():
            for size in SIZES:
                answers = spawn.SimpleQueue()
                multiprocessing.spawn(work, (size, place, name, answers), nprocs=size)
                every = sorted(answers.get() for _ in range(size))
                _, _, counted, _, loss = every[0]
                memory, seconds = (max(one[k] for one in every) for k in (1, 3))
                print(
                    f"{name}, {size}: {memory:.0f} MiB, {seconds:.1f} s of CPU, loss {loss:.6f}, bytes {counted}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=70_000)
    given = parser.parse_args()
    main(given.data, given.rows)
