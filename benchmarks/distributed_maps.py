"""Is a map or a clustering of MNIST over several processes that of one process, and what do these hold and send?

    python benchmarks/distributed_maps.py DATA [--rows 20000] [--ranks 1 2 4] [--joint | --clusters]

DATA is a folder with ``mnist.npz`` (arrays X and y).  Ranks are processes of one machine that exchange by gloo; each
loads its own rows, not equally many.  "memory" is the largest resident size of a process less that after the imports,
in MiB, as Linux says it (VmHWM: what getrusage says is no less than what the parent of a process has); "sent" are bytes
that a rank sends, by step where the fit has steps (`group.traffic`, of the search apart).  Times are of processes'
CPUs, and so include no waiting.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
from _common import mnist, write


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--joint", action="store_true", help="t-SNE instead of the default map")
    parser.add_argument("--clusters", action="store_true", help="ten clusters instead of a map")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        _work(pathlib.Path(args.work), "clusters" if args.clusters else "joint" if args.joint else "map")
        return
    X, y = mnist(args.data)
    chosen = np.random.RandomState(0).permutation(len(X))[: args.rows]
    variant = [name for name in ("joint", "clusters") if getattr(args, name)]
    rows = [_run(X[chosen], y[chosen], size, [f"--{name}" for name in variant]) for size in args.ranks]
    if args.clusters:
        from sklearn.metrics import adjusted_rand_score

        for row in rows:
            row["ari_beside_first"] = round(adjusted_rand_score(rows[0]["answers"], row["answers"]), 4)
    for row in rows:
        del row["answers"]
        print(row)
    write(__file__, rows, *variant)


def _run(X, y, size, flags):
    from sklearn.metrics import adjusted_rand_score
    from sklearn.neighbors import KNeighborsClassifier

    from iconlearn.metrics import neighbor_recall

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cuts = np.linspace(0, len(X), size + 1).astype(int)
    cuts[1:-1] += len(X) // (20 * size)
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            np.save(f"{folder}/{rank}.npy", X[cuts[rank] : cuts[rank + 1]])
        processes = []
        for rank in range(size):
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank)}
            of_many = {**place, "WORLD_SIZE": str(size)} if size > 1 else {}
            command = [sys.executable, __file__, "-", "--work", folder, *flags]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **of_many}
            processes.append(subprocess.Popen(command, env=environment))
        if any(process.wait() for process in processes):
            raise RuntimeError("a rank has failed")
        found = [np.load(f"{folder}/answers_{rank}.npz") for rank in range(size)]
        answers = np.concatenate([part["answers"] for part in found])
        row = {
            "rows": len(X),
            "ranks": size,
            "loss": round(float(found[0]["loss"]), 5),
            "first_loss": round(float(found[0]["first_loss"]), 7),
            "memory": round(max(float(part["memory"]) for part in found)),
            "seconds_of_a_cpu": round(max(float(part["seconds"]) for part in found), 1),
            "sent": int(max(part["sent"] for part in found)),
            "answers": answers,
        }
    if answers.ndim == 1:
        return row | {"ari_classes": round(adjusted_rand_score(y, answers), 4)}
    some = np.random.RandomState(1).permutation(len(X))[:5000]
    nearest = KNeighborsClassifier(10).fit(answers, y)
    others = np.random.RandomState(2).permutation(len(X))
    half = len(X) // 2
    nearest.fit(answers[others[:half]], y[others[:half]])
    row["label"] = round(float(nearest.score(answers[others[half:]], y[others[half:]])), 4)
    row["recall"] = round(float(neighbor_recall(X[some], answers[some])), 4)
    return row


def _work(folder, kind):
    from iconlearn import ICONClustering, ICONEmbedding, recipes
    from iconlearn.distributed import shards
    from iconlearn.numerics import compiled  # noqa: F401  an import of its own in large fits

    rank = int(os.environ.get("RANK", 0))
    before = _status("VmRSS")
    with shards(timeout=600) as group:
        X = np.load(folder / f"{rank}.npy")
        begun = time.process_time()
        if kind == "clusters":
            model = ICONClustering(10, random_state=0).fit(X)
        elif kind == "joint":
            model = recipes.tsne(perplexity=30, random_state=0).fit(X)
        else:
            model = ICONEmbedding(random_state=0).fit(X)
        seconds, sent = time.process_time() - begun, dict(group.traffic)
    print(rank, sent, {name: round(value, 1) for name, value in model.timings_.items()}, file=sys.stderr)
    np.savez(
        folder / f"answers_{rank}.npz",
        answers=model.labels_ if kind == "clusters" else model.embedding_,
        loss=model.loss_,
        first_loss=model.loss_history_[0],
        memory=_status("VmHWM") - before,
        seconds=seconds,
        sent=(sent.get("total", 0) + sent.get("exchanged", 0)) // max(model.n_iter_, 1),
    )


def _status(name):
    """A size of this process in MiB, as Linux says it."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) / 1024


if __name__ == "__main__":
    main()
