"""On which device the products of a search are computed.

Searches ask torch for a GPU by themselves.  An estimator that was told its device says so here, since p,
which asks for the neighbours, knows of no device.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = ["search_device", "searching_on"]

_told = ContextVar("search_device", default=None)


@contextmanager
def searching_on(device):
    """Searches in the body take this torch.device; None lets them choose."""
    token = _told.set(device)
    try:
        yield
    finally:
        _told.reset(token)


def search_device() -> torch.device:
    """The device that was told, else a GPU where torch sees one."""
    return _told.get() or torch.device("cuda" if torch.cuda.is_available() else "cpu")
