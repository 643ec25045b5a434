"""How much slower are fits beside other work? Wall-clock times with busy processes beside them, one for each core.

    python benchmarks/under_load.py DATA

Every task runs once to warm up, once on the idle machine and once beside the busy loops; MNIST by 50 principal
components.  It prints, and writes no file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from _common import machine, mnist
from sklearn.decomposition import PCA

from iconlearn import ICONClustering, ICONEmbedding

BUSY = "while True: pass"


def seconds(task):
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def main(folder):
    X, _ = mnist(folder)
    X = PCA(50, random_state=0).fit_transform(X[:30_000])
    fitted = ICONEmbedding(random_state=0).fit(X[:20_000])
    tasks = {
        "map of 20 000 rows": lambda: ICONEmbedding(random_state=0).fit(X[:20_000]),
        "10-D map of 10 000 rows": lambda: ICONEmbedding(10, random_state=0).fit(X[:10_000]),
        "clusters of 10 000 rows": lambda: ICONClustering(10, random_state=0).fit(X[:10_000]),
        "transform of 10 000 rows": lambda: fitted.transform(X[20_000:]),
    }
    print(machine())
    for name, task in tasks.items():
        task()
        idle = seconds(task)
        loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in os.sched_getaffinity(0)]
        try:
            loaded = seconds(task)
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
        print(
            f"{name}: idle {idle:.1f} s, beside busy loops {loaded:.1f} s, {loaded / idle:.2f} times",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="folder with mnist.npz")
    main(parser.parse_args().data)
