"""How many threads a fit takes: one while its steps are small.

A step over a few million pairs is two hundred operations of a few microseconds to a millisecond; on a
machine that does anything else, the wait at the end of each for the other threads costs many times what
they save (measured on two cores with a background load: 120 ms a step with two threads, 14 ms with one).
"""

from __future__ import annotations

from contextlib import contextmanager

import torch

__all__ = ["threads_for"]

SMALL = 2**22


@contextmanager
def threads_for(work, device):
    """Run the body on one thread if a step is small (`work` products), and give the threads back afterwards."""
    before = torch.get_num_threads()
    if device.type != "cpu" or work > SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
