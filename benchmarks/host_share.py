"""What of a large map is left to the host where neighbours are searched, and steps are taken, on a GPU?

Each stage of such a fit but the search for candidates and the steps, by itself, on made-up rows.  Without a GPU the
pretended one of tests/device stands in for it; there the processor does its work too, so that every operation on the
device is timed, and what is left of the time of the process is the host's.  Copies between the two are operations on
the device.  Compare two checkouts on one machine in turn:

    PYTHONPATH=.     python benchmarks/host_share.py --rows 1000000
    PYTHONPATH=../old python benchmarks/host_share.py --rows 1000000

or with ``--device cpu``, where all of it is the host's.
"""

from __future__ import annotations

import argparse
import ctypes
import inspect
import os
import pathlib
import sys
import time

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

N_COLUMNS, K, SPARE, N_COMPONENTS = 50, 15, 3, 2


def keep_freed_memory():
    """Let glibc give back no memory: that of a GPU is kept by torch, freeing that of the pretended one takes time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # as in malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def seconds():
    """Of the process on all cores, and on the clock."""
    return np.array([time.process_time(), time.perf_counter()])


class OnDevice(TorchDispatchMode):
    """Adds up the seconds of operations that take or give tensors of a GPU."""

    def __init__(self):
        super().__init__()
        self.seconds, self.calls = np.zeros(2), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        begun = seconds()
        out = function(*args, **(kwargs or {}))
        if any(part.device.type == "cuda" for part in _tensors((args, kwargs, out))):
            self.seconds += seconds() - begun
            self.calls += 1
        return out


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def called(function, *args, **options):
    """The call without those options that an older checkout does not know."""
    known = inspect.signature(function).parameters
    return function(*args, **{name: value for name, value in options.items() if name in known})


def stages(n, device):
    """Names and calls of the stages of a map of n rows."""
    from iconlearn.conditional import Conditional
    from iconlearn.divergences import KL
    from iconlearn.engines._visit import visit_all
    from iconlearn.initialization._coarse import spread_over
    from iconlearn.initialization._places import initial_places
    from iconlearn.learned import Student
    from iconlearn.mappers import TableModule
    from iconlearn.neighbors import KnownRows, _search
    from iconlearn.objective import Points, Problem
    from iconlearn.out_of_sample._seen import share_places
    from iconlearn.supervisory import KNN

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, N_COLUMNS), dtype=np.float32)
    # Far apart in memory, as neighbours of rows in no order are.
    candidates = rng.integers(n, size=(n, K + SPARE))
    candidates[candidates == np.arange(n)[:, None]] = 0
    few = np.sort(rng.choice(n, n // 8, replace=False))
    places = rng.standard_normal((n, N_COMPONENTS))
    table = TableModule(torch.as_tensor(places, dtype=torch.float32)).to(device)
    found = torch.as_tensor(candidates).to(device)
    _search.search_cells = lambda *args, **options: found
    known, p = KnownRows(X), KNN(K, search="ivf")

    # As p leaves them.
    edges = p.fit(X, random_state=0, device=device).conditional_.edges
    points = Points(table, n)
    one = Problem(Conditional(edges, self_pairs=False), Student(), KL(), points, points)
    return {
        "p of the neighbours, search aside": lambda: p.fit(X, random_state=0, device=device),
        "places of landmarks spread": lambda: called(
            spread_over, one.p.edges, few, places[few], device=device
        ),
        "entropy": one.entropy,
        "what a visit sees": lambda: visit_all(one, dtype=torch.float32, device=device),
        "principal axes": lambda: called(
            initial_places, "pca", X, None, N_COMPONENTS, np.random.RandomState(0), device=device
        ),
        "equal rows": lambda: share_places(table, known, True),
    }


def main():
    """Print the seconds of each stage: the host's of all cores, those on the device, and those on the clock."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--profile", help="the name of a stage to profile instead")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "device"))
        import pretended

        pretended.enable()
    keep_freed_memory()
    device = torch.device(options.device)
    torch.zeros(1, device=device)
    for stage in stages(2000, device).values():  # what is loaded and started once
        with OnDevice():
            stage()
    print(
        f"{options.rows} rows, {device}, {os.cpu_count()} cores, torch on {torch.get_num_threads()} threads"
    )
    total = np.zeros(3)
    for name, stage in stages(options.rows, device).items():
        if options.profile is not None:
            if options.profile in name:
                profiled(stage)
            continue
        mode, begun = OnDevice(), seconds()
        with mode:
            stage()
        cpu, clock = seconds() - begun
        row = np.array([cpu - mode.seconds[0], mode.seconds[0], clock])
        total += row
        print(f"{name:36}host {row[0]:7.2f}   device {row[1]:7.2f}   clock {row[2]:7.2f}", flush=True)
    if options.profile is None:
        print(f"{'together':36}host {total[0]:7.2f}   device {total[1]:7.2f}   clock {total[2]:7.2f}")


def profiled(stage):
    """Print where the time of a stage goes."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(stage)
    pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
