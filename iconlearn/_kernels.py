"""Where kernels of Triton take the place of plain operations, which say what is right."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

from ._warnings import warn

# Kernels and operations round differently; what is wrong is so by more than this share of its norm.
TOLERANCE = 1e-2

# By kind and device: whether both have agreed in this process.
_agreed: dict = {}


def fuses(tensor) -> bool:
    """Whether there may be kernels for this tensor: contiguous and in single precision, on CUDA, with Triton."""
    return tensor.is_cuda and tensor.dtype == torch.float32 and tensor.is_contiguous() and _has_triton()


@cache
def _has_triton():
    # It comes with torch's builds for CUDA and is not required; a build without CUDA has no driver for its kernels.
    return torch.version.cuda is not None and find_spec("triton") is not None


def either(kind, tensors, fused, plain):
    """What a kernel finds where it can be used, else what plain operations do.

    At the first use of a kind on a device both are run, which also compiles the kernel, and what plain operations
    have found is taken.  If the kernel fails or has found anything else, there is one warning and it is not used in
    this process.

    Parameters
    ----------
    kind : str
        What it is for, and of which shape.
    tensors : tuple of Tensor
        What both work on, and may change.
    fused, plain : callable
        Functions of these tensors that give a tuple of tensors.

    Returns
    -------
    tuple of Tensor
    """
    if not all(map(fuses, tensors)):
        return plain(*tensors)
    key = kind, tensors[0].device
    if key in _agreed:
        return (fused if _agreed[key] else plain)(*tensors)
    if torch.cuda.is_current_stream_capturing():
        return plain(*tensors)  # it can neither be compiled nor looked at here
    copies = [t.detach().clone() for t in tensors]
    expected = plain(*tensors)
    try:
        found = fused(*copies)
        # Of numbers that are none there is nothing to be learned.
        if not all(bool(torch.isfinite(t).all()) for t in expected):
            return expected
        _agreed[key] = all(map(_agree, found, expected))
        reason = "its results differ from theirs"
    except Exception as error:  # a library without a compiler, a card that it does not know, ...
        _agreed[key], reason = False, f"{type(error).__name__}: {error}"
    if not _agreed[key]:
        warn(
            f"the Triton kernel for {kind} cannot be used on {key[1]} ({reason}); plain operations of torch are used "
            f"instead, which take longer"
        )
    return expected


def _agree(found, expected):
    return bool((found - expected).norm() <= TOLERANCE * expected.norm())
