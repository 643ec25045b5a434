"""Random states that leave those of the process alone.

Torch's global generator is seeded for a while: a module that draws (dropout) uses no other.  All threads share it, so
that only one fit may have it at a time.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

_lent = threading.RLock()


def random_source(random_state) -> np.random.RandomState:
    """The generator of a parameter `random_state`: one seeded by the system for None, else scikit-learn's.

    scikit-learn gives None numpy's global generator, which other code of the process draws from and seeds.

    Raises
    ------
    ValueError
        For what is no seed and no generator of that kind.
    """
    if random_state is None:
        return np.random.RandomState()
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state={random_state!r} is no seed ({error}): give an integer from 0 to 2**32 - 1, a "
            f"numpy.random.RandomState or None"
        ) from error


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
