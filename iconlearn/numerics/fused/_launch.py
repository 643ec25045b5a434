"""How kernels are compiled and launched."""

from __future__ import annotations

import inspect

import torch
import triton


def kernel(function):
    """The kernel of a function, compiled once for all sizes and places in memory.

    A second variant would be compiled where the first such size comes, which may be while a graph is recorded.
    """
    general = [
        name for name, p in inspect.signature(function).parameters.items() if p.annotation != "tl.constexpr"
    ]
    return triton.jit(function, do_not_specialize=general)


def launch(function, n_programs, *args, **constants):
    """Let so many programs of a kernel run on the device of its first argument, a tensor."""
    with torch.cuda.device_of(args[0]):
        # The default, which versions of Triton warn that they will change.
        function[(n_programs,)](*args, **constants, enable_fp_fusion=True)
