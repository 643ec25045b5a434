"""How the long loops run: on how many threads, and whether compiled.

Torch's operations wait for all of their threads at every end.  On a machine that does anything else, that
wait costs many times what the threads save where an operation is short (measured on two cores with a
background load: 120 ms a step of two hundred small operations with two threads, 14 ms with one).  So small
steps run on one thread, and so do those of engines whose long loops bring threads of their own.

Compiled loops need numba, which takes a while to load; they pay from some thousands of points on.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = ["MANY_POINTS", "available", "compiled_pays", "threads_for", "torch_on_one_thread"]

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
