"""What would a step take for up to 10^9 rows on up to 64 processes?

    python benchmarks/distributed_growth.py [--latency 50] [--gbits 1 10 100]

A simulation.  Rates of this machine are measured by two processes that exchange by gloo: CPU seconds of a step for each
row of a process (a map in two dimensions, an evaluation of L-BFGS for a linear classifier, a step of the refinement of
clusters) and for each node of a map's grid; and for comparison bytes a second and seconds of a round of all-reduces.
Bytes of a step are those that ``group.traffic`` counts: see :func:`map_step` and the others.  For a network of so many
Gbit/s, with a latency in microseconds for each of the 2 (R - 1) messages of an all-reduce by a ring,

    seconds of a step = rows of a process * seconds a row + nodes * seconds a node
                        + rounds * latency + (2 (1 - 1/R) * bytes of all-reduces + bytes exchanged) / bandwidth

Nothing is computed while a process waits.  Near pairs of maps that are too wide for their grid count by their bytes,
not by their time.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time

import numpy as np
import torch
from _common import write
from torch import distributed, multiprocessing

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.distributed import shards
from iconlearn.engines import Mesh
from iconlearn.engines.mesh import _mesh

RANKS = 1, 2, 4, 8, 16, 32, 64
ROWS = 10**6, 10**7, 10**8, 10**9
# A classifier's features and classes, clusters, rows with which a row has edges in either direction, nodes of the grid
# for each row of a map that is done (70 000 rows of MNIST: 2.4 MB a step, of which the grid is 2.1), and their most.
N_FEATURES, N_CLASSES, N_CLUSTERS, N_NEAR, NODES_PER_ROW = 512, 10, 10, 22, 4
MOST_NODES, MOST_GATHERED = _mesh.MOST_NODES, _mesh.MOST_GATHERED


# -- bytes that a process hands over at a step, by operation, as group.traffic counts them; and rounds -------------


def map_step(n_nodes, n_sent, d=2, *, joint=False, n_all=0, n_own=0, size=1):
    """A step of a map in single precision.

    Parameters
    ----------
    n_nodes : int
        Of the grid.
    n_sent : int
        Places that a process sends, a row as often as it has edges with rows of another process.
    d : int
        Dimensions.
    joint : bool
        Normalised over all pairs, and not by row.
    n_all, n_own, size : int
        Rows of all and of this process, and processes, where near pairs are summed one by one; else zero.
    """
    sent = {
        "exchanged": 4 * d * n_sent,
        "total": 4 * n_nodes * (1 if joint else 2) + 28,
        "add_up": 8,
        "smallest": 4 * d,
        "largest": 4 * d + (8 if joint else 12),
    }
    if n_all:
        sent["total"] += 4 * (1 + d) * n_all
        sent["gathered"] = 4 * (d + 1) * n_own * (size - 1)
    return sent


def classifier_step(n_parameters, width, n_terms=1):
    """An evaluation of L-BFGS, with numbers of `width` bytes."""
    return {"add_up": (n_parameters + n_terms + 1) * width}


def cluster_step(n_clusters, n_sent):
    """A step of the refinement of clusters in double precision; `n_sent` as for maps, of assignments."""
    return {"exchanged": 8 * n_clusters * n_sent, "total": 24 * n_clusters + 8}


# All-reduces, and exchanges of rows, in a step.
ROUNDS = {"map": 12, "classifier": 1, "clusters": 5}


def seconds(sent, rounds, size, gbits, latency):
    """Seconds that the exchanges of a step take."""
    if size == 1:
        return 0.0
    exchanged = sum(sent.get(name, 0) for name in ("exchanged", "gathered"))
    reduced = sum(sent.values()) - exchanged
    messages = rounds * 2 * (size - 1)
    return messages * latency * 1e-6 + (2 * (1 - 1 / size) * reduced + exchanged) / (gbits * 1e9 / 8)


def places_sent(n_own, size):
    """Places that a process sends where rows lie on any process: of each row to those that its near rows are on."""
    return n_own * (size - 1) * (1 - (1 - 1 / size) ** N_NEAR)


def simulated(job, n, size, rates):
    """Bytes by operation, and CPU seconds, of a step of one process."""
    n_own = n / size
    n_sent = places_sent(n_own, size)
    if job == "classifier":
        return classifier_step((N_FEATURES + 1) * N_CLASSES, 4), n_own * rates["classifier"]
    if job == "clusters":
        return cluster_step(N_CLUSTERS, n_sent), n_own * rates["clusters"]
    n_nodes = min(NODES_PER_ROW * n, MOST_NODES)
    near = (
        {"n_all": n, "n_own": n_own, "size": size}
        if NODES_PER_ROW * n > n_nodes and n <= MOST_GATHERED
        else {}
    )
    return map_step(n_nodes, n_sent, **near), n_own * rates["map"] + n_nodes * rates["node"]


# -- rates of this machine -----------------------------------------------------------------------------------------


class Steps:
    """CPU seconds of the steps of a fit, by its callback."""

    def __init__(self):
        self.at = []

    def __call__(self, record):
        self.at.append(time.process_time())

    def median(self):
        return float(np.median(np.diff(self.at)[2:]))


def of_a_map(X):
    """Seconds of a step for each row, and of the convolutions for each node of the grid."""
    spent, nodes, convolve, steps = [], [], _mesh.convolved, Steps()

    def timed(charges, *args):
        begun = time.process_time()
        found = convolve(charges, *args)
        spent.append(time.process_time() - begun)
        nodes.append(charges.numel())
        return found

    _mesh.convolved = timed
    ICONEmbedding(engine=Mesh(), max_iter=60, callback=steps, random_state=0).fit(X)
    _mesh.convolved = convolve
    of_nodes = float(np.median(np.divide(spent, nodes)))
    return (steps.median() - 2 * of_nodes * np.median(nodes)) / len(X), 2 * of_nodes


def of_a_classifier(group, X, y):
    """Seconds of an evaluation for each row."""
    at, add_up = [], group.add_up

    def timed(tensors):
        at.append(time.process_time())
        return add_up(tensors)

    group.add_up = timed
    ICONClassifier(max_iter=8, tol=0, random_state=0).fit(X, y)
    del group.add_up
    return float(np.median(np.diff(at))) / len(X)


def mixture(n, width, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(N_CLASSES, size=n)
    centres = np.random.default_rng(0).normal(scale=2.0, size=(N_CLASSES, width))
    return (centres[y] + rng.normal(size=(n, width))).astype(np.float32), y


def work(rank, size, folder, n, answers):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    with shards() as group:
        rates = dict(zip(("map", "node"), of_a_map(mixture(n, 50, rank)[0]), strict=True))
        rates["classifier"] = of_a_classifier(group, *mixture(n, N_FEATURES, rank))
        for name, length, times in (("bytes", 2**22, 20), ("round", 2, 200)):
            numbers, each = torch.zeros(length), []
            for _ in range(times):
                begun = time.monotonic()
                group.add_up([numbers])
                each.append(time.monotonic() - begun)
            # The best, since others use the machine as well.
            rates[name] = 4 * length / min(each) if name == "bytes" else min(each)
    steps = Steps()
    ICONClustering(N_CLUSTERS, init="random", max_iter=12, tol=0, callback=steps, random_state=0).fit(
        mixture(n, 50, rank)[0]
    )
    rates["clusters"] = steps.median() / n
    answers.put(rates)
    distributed.destroy_process_group()


def measured(n):
    with tempfile.TemporaryDirectory() as folder:
        answers = multiprocessing.get_context("spawn").SimpleQueue()
        context = multiprocessing.spawn(work, (2, folder, n, answers), nprocs=2, join=False)
        every = [answers.get() for _ in range(2)]
        while not context.join():
            pass
    return {name: float(np.mean([rates[name] for rates in every])) for name in every[0]}


def main(n, latency, gbits):
    rates = measured(n)
    print({name: float(f"{value:.3g}") for name, value in rates.items()})
    rows = []
    for job in ROUNDS:
        for n_rows in ROWS:
            for size in RANKS:
                sent, of_cpu = simulated(job, n_rows, size, rates)
                waiting = {
                    f"seconds_at_{g:g}_gbits": float(
                        f"{of_cpu + seconds(sent, ROUNDS[job], size, g, latency):.3g}"
                    )
                    for g in gbits
                }
                bytes_sent = sum(sent.values()) if size > 1 else 0
                row = {
                    "job": job,
                    "rows": n_rows,
                    "ranks": size,
                    "megabytes": float(f"{bytes_sent / 1e6:.3g}"),
                }
                rows.append({**row, "cpu_seconds": float(f"{of_cpu:.3g}"), **waiting})
    write(__file__, [{"job": name, "rate": f"{value:.3g}"} for name, value in rates.items()], "rates")
    print(write(__file__, rows))
    print_table(rows, gbits)


def print_table(rows, gbits):
    """The table of the documentation, of one, 8 and 64 processes."""
    print("| step | rows | 1 process | 8: MB | " + " | ".join(f"{g:g} Gbit/s" for g in gbits) + " | 64: MB | "
          + " | ".join(f"{g:g} Gbit/s" for g in gbits) + " |")  # fmt: skip
    print("| --- | ---: " + "| ---: " * (3 + 2 * len(gbits)) + "|")
    of = {(row["job"], row["rows"], row["ranks"]): row for row in rows}
    for job in ROUNDS:
        for n in ROWS:
            cells = [job, f"10{str(round(math.log10(n))).translate(str.maketrans('6789', '⁶⁷⁸⁹'))}"]
            cells.append(f"{of[job, n, 1]['cpu_seconds']:.3g} s")
            for size in (8, 64):
                row = of[job, n, size]
                cells.append(f"{row['megabytes']:.3g}")
                cells += [f"{row[f'seconds_at_{g:g}_gbits']:.3g} s" for g in gbits]
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="of each process while rates are measured")
    parser.add_argument("--latency", type=float, default=50.0, help="microseconds of a message")
    parser.add_argument("--gbits", type=float, nargs="+", default=[1.0, 10.0, 100.0])
    given = parser.parse_args()
    main(given.rows, given.latency, given.gbits)
