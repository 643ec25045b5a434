"""torch's default device, which is the user's: tensors that are made in here without a device are on the CPU."""

from __future__ import annotations

from functools import wraps

import torch

__all__ = ["cpu_by_default"]


def cpu_by_default(function):
    """The function with the CPU for torch's default device while it runs, whatever the default of the process is.

    Where that is the CPU already nothing is set: torch would look at every call of its functions meanwhile.
    """

    @wraps(function)
    def with_cpu(*args, **kwargs):
        if torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return with_cpu
