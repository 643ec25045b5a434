"""Arrays on their way to a device: all of them in one copy, for which the host does not wait."""

from __future__ import annotations

import torch

# Where a part may begin, in bytes: at a multiple of the largest number.
ALIGNED = 8


def sent(arrays, device):
    """Arrays as tensors on a device.

    Parameters
    ----------
    arrays : list of (array, torch.dtype)
        Each with the type that it is to have there; in place of an array None, which stays None.
    device : torch.device or str

    Returns
    -------
    list of Tensor or None
        Those on a device share their memory, and each holds all of it.
    """
    device = torch.device(device)
    parts = [None if array is None else torch.as_tensor(array).to(kind) for array, kind in arrays]
    if device.type == "cpu":
        return parts
    sizes = [0 if part is None else part.numel() * part.element_size() for part in parts]
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + -(-size // ALIGNED) * ALIGNED)
    packed = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")

    def at(memory, k):
        return memory[starts[k] : starts[k] + sizes[k]].view(parts[k].dtype).view(parts[k].shape)

    there = [k for k, part in enumerate(parts) if part is not None]
    for k in there:
        at(packed, k).copy_(parts[k])
    packed = packed.to(device, non_blocking=True)
    return [at(packed, k) if k in there else None for k in range(len(parts))]
