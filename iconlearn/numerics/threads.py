"""On how many threads work runs, and whether loops are compiled.

Torch's operations wait for all of their threads at every end.  On a machine that does anything else, that
wait costs many times what the threads save where an operation is short (measured on two cores with a
background load: 120 ms a step of two hundred small operations with two threads, 14 ms with one).  So small
steps run on one thread, and so do those of engines whose long loops bring threads of their own.  Threads that
each work through blocks of their own (:func:`share`) never wait: a search of 20 000 rows took one second with them
and twelve with torch's.

Compiled loops need numba, which takes a while to load; they pay from some thousands of points on.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = [
    "MANY_POINTS",
    "Scratch",
    "available",
    "compiled_pays",
    "share",
    "threads_for",
    "torch_on_one_thread",
]

# So many points repay loading the compiler's library.
MANY_POINTS = 5000

# Products of a step that are not worth a second thread.
SMALL = 2**22

_held = ContextVar("threads that torch has given up for a while", default=None)


def compiled_pays(points):
    """Whether loops over these points (a tensor of shape (n, d)) should go to ``iconlearn.numerics.compiled``."""
    return (
        len(points) >= MANY_POINTS
        and points.shape[1] <= 3
        and points.dtype == torch.float32
        and points.device.type == "cpu"
    )


def available():
    """Threads for a loop that brings its own."""
    return _held.get() or torch.get_num_threads()


@contextmanager
def threads_for(work, device, *, own_loops=False):
    """Run the body with torch on one thread if its steps are small, and give the threads back afterwards.

    Parameters
    ----------
    work : int
        Products of a step.
    device : torch.device
    own_loops : bool
        Whether larger steps spend their time in loops that ask for :func:`available` threads.
    """
    before, small = torch.get_num_threads(), work <= SMALL
    if device.type != "cpu" or before == 1 or not (small or own_loops):
        yield
        return
    token = _held.set(None if small else before)
    try:
        with torch_on_one_thread():
            yield
    finally:
        _held.reset(token)


@contextmanager
def torch_on_one_thread():
    """Run the body with torch on one thread, and give the others back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def share(work, items, device) -> None:
    """Call ``work(item)`` for all items, on as many threads as torch may use; a GPU gets them in turn.

    Torch's own number of threads is one while this runs and what it was afterwards.
    """
    items, n_threads = list(items), torch.get_num_threads()
    if device.type != "cpu" or n_threads == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    with torch_on_one_thread(), ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(work, items):
            pass


class Scratch(threading.local):
    """One buffer per thread, written over again: fresh pages cost more than the product they hold."""

    buffer = None

    def __call__(self, n_rows, n_cols, like):
        """A matrix of this shape, of the type and on the device of `like`; it holds anything."""
        size = n_rows * n_cols
        if self.buffer is None or len(self.buffer) < size:
            self.buffer = like.new_empty(size)
        return self.buffer[:size].view(n_rows, n_cols)
