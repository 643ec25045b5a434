"""Which device torch computes on.

torch's default device is the user's: tensors that are made in here without a device are on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast

import torch

# Of decorators, which give back the type that they are given.
Function = TypeVar("Function", bound=Callable)

# What a process cannot do that has been forked, and what to do instead.
FORKED = (
    "this process was forked after its parent had computed on a CUDA device, and torch can neither use the device nor "
    "take gradients in it; start processes by 'spawn' or 'forkserver', or by joblib's loky"
)


def has_cuda() -> bool:
    """Whether torch can compute on a CUDA device; it cannot in a process forked after its parent has done so."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.cuda.init()
    except RuntimeError as error:
        if "fork" in str(error):
            return False
        raise
    return True


def in_forked_child() -> bool:
    """Whether this process was forked after its parent had computed on a CUDA device."""
    return torch.cuda.is_available() and not has_cuda()


def cpu_by_default(function: Function) -> Function:
    """The function with the CPU for torch's default device while it runs, whatever the default of the process is.

    Where that is the CPU already nothing is set: torch would look at every call of its functions meanwhile.
    """

    @wraps(function)
    def with_cpu(*args, **kwargs):
        if torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return cast(Function, with_cpu)
