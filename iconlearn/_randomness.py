"""Torch's own random state, lent for a while: a module that draws (dropout) knows no other.

There is one for all threads, so that only one fit may have it at a time.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

import torch

__all__ = ["torch_seeded"]

_lent = threading.RLock()


@contextmanager
def torch_seeded(seed, device="cpu"):
    """Run the body with torch's generators seeded, and put their states back afterwards.

    Parameters
    ----------
    seed : int
    device : torch.device or str, default="cpu"
        Whose generator is lent besides that of the CPU.
    """
    device = torch.device(device)
    cuda = device.type == "cuda"
    with _lent, torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
