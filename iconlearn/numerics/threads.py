"""On how many threads work runs, and whether loops are compiled.

Torch's operations wait for all of their threads at every end.  On a machine that does anything else, that
wait costs many times what the threads save where an operation is short (measured on two cores with a
background load: 120 ms a step of two hundred small operations with two threads, 14 ms with one).  So small
steps run on one thread, and so do those of engines whose long loops start threads of their own.  Threads that
each work through blocks of their own (:func:`share`, :func:`in_stretches`) never wait: a search of 20 000 rows
took one second with them and twelve with torch's.

Compiled loops need numba, which takes a while to load; they pay from some thousands of points on.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache

import torch

__all__ = [
    "MANY_POINTS",
    "WIDE",
    "Scratch",
    "available",
    "compiled_pays",
    "in_stretches",
    "one_ahead",
    "share",
    "threads_for",
    "threads_of_blocks",
    "torch_on_one_thread",
]

# So many points repay loading the compiler's library.
MANY_POINTS = 2500

# Loops over points of any number of dimensions serve up to so many: wider ones are as quick by products of matrices.
WIDE = 32

# Products of a step that are not worth a second thread: some milliseconds of a core.
SMALL = 2**26

_held = ContextVar("threads that torch has given up for a while", default=None)


def compiled_pays(points, widest=3):
    """Whether loops over these points (a tensor of shape (n, d)) should go to ``iconlearn.numerics.compiled``.

    ``widest`` is the largest d that these loops serve.
    """
    return (
        len(points) >= MANY_POINTS
        and points.shape[1] <= widest
        and points.dtype == torch.float32
        and points.device.type == "cpu"
    )


def available():
    """Number of threads for a loop that starts its own."""
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
    small = work <= SMALL
    if device.type != "cpu" or not (small or own_loops):
        yield
        return
    with torch_on_one_thread(1 if small else available()):
        yield


@contextmanager
def torch_on_one_thread(left=None):
    """Run the body with torch on one thread, and give the others back afterwards.

    Parameters
    ----------
    left : int or None, default=None
        What :func:`available` returns meanwhile; None leaves it unchanged.
    """
    before, token = torch.get_num_threads(), _held.set(left or available())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _held.reset(token)


def in_stretches(work, n_threads):
    """``[work(0), ..., work(n_threads - 1)]``, at the same time.

    On each of these threads torch has one, so that work which shares its own work goes on alone.
    """
    if n_threads == 1:
        return [work(0)]
    with torch_on_one_thread():
        return list(_pool(os.getpid(), n_threads).map(work, range(n_threads)))


def share(work, items, device) -> None:
    """Call ``work(item)`` for all items, on as many threads as are available; a GPU gets them in turn.

    Torch's own number of threads is one while this runs and what it was afterwards.
    """
    items = list(items)
    # Taken one by one, since some may take longer than others.
    rest = iter(items)

    def some(_):
        for item in rest:
            work(item)

    in_stretches(some, threads_of_blocks(len(items), device))


@contextmanager
def one_ahead(device):
    """Run the body with a thread that makes an item of an iterator while the one before it is used.

    It ends with the body, however that ends.

    Parameters
    ----------
    device : torch.device
        A CUDA device.  What the thread does there comes in one order with what the caller does.

    Yields
    ------
    callable
        ``ahead(items)`` gives the same items in the same order, and raises what their making has raised.  When it
        ends nothing more is being made, so that random numbers are drawn as without the thread.
    """
    stream, context = torch.cuda.current_stream(device), copy_context()

    def made(items):
        with torch.cuda.stream(stream):
            return next(items, None)

    with ThreadPoolExecutor(1) as executor:

        def ahead(items):
            items = iter(items)
            coming = executor.submit(context.run, made, items)
            while (item := coming.result()) is not None:
                coming = executor.submit(context.run, made, items)
                yield item

        yield ahead


def threads_of_blocks(n_blocks, device):
    """How many threads share so many blocks of work: those that are available, but one on a GPU."""
    return max(1, min(available(), n_blocks)) if device.type == "cpu" else 1


class Scratch(threading.local):
    """One buffer per thread, written over again: fresh pages cost more than the product they hold."""

    buffer = None

    def __call__(self, n_rows, n_cols, like):
        """A matrix of this shape, of the type and on the device of `like`; it holds anything."""
        size = n_rows * n_cols
        if self.buffer is None or len(self.buffer) < size:
            self.buffer = like.new_empty(size)
        return self.buffer[:size].view(n_rows, n_cols)


@cache
def _pool(pid, n_threads):
    # One for each process, because threads do not survive a fork.
    return ThreadPoolExecutor(n_threads, initializer=_one_torch_thread)


def _one_torch_thread():
    torch.set_num_threads(1)


# Torch's threads do not survive a fork either: in the child of a process that has used them, the first operation
# that is large enough for two would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_torch_thread)
