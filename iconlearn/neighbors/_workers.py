"""Independent blocks of torch work, one thread each.

Threads inside every operation have to meet at its end; on a machine that does anything else, that
wait costs many times the operation (a search of 20 000 rows went from one second to twelve).  Threads
that each work through blocks of their own never wait.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from ..numerics.threads import torch_on_one_thread

__all__ = ["Scratch", "share"]


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
