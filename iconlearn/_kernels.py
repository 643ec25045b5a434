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

    At the first use of a kind on a device both work on copies, which also compiles the kernel.  If it fails or finds
    anything else than plain operations, there is one warning and it is not used in this process.

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
    # While a step is recorded nothing can be compiled or looked at.
    if key not in _agreed and not torch.cuda.is_current_stream_capturing():
        expected = plain(*_copies(tensors))
        # From what is no number nothing can be learned.
        if all(bool(torch.isfinite(t).all()) for t in expected):
            _agreed[key] = _agrees(lambda: fused(*_copies(tensors)), expected, key)
    return (fused if _agreed.get(key) else plain)(*tensors)


def _copies(tensors):
    return [t.detach().clone() for t in tensors]


def _agrees(find, expected, key):
    """Whether a kernel finds what is expected; warns where it does not."""
    reason = "its results are others than those of plain operations"
    try:
        if all(bool((a - b).norm() <= TOLERANCE * b.norm()) for a, b in zip(find(), expected, strict=True)):
            return True
    except Exception as error:  # a library without a compiler, a card that it does not know, ...
        reason = f"{type(error).__name__}: {error}"
    kind, device = key
    warn(
        f"the Triton kernel for {kind} cannot be used on {device} ({reason}); plain operations of torch are used "
        f"instead, which take longer"
    )
    return False
