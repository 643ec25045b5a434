"""Torch tensors and modules as arrays and plain values, for all that knows numpy and not torch.

A tensor that a user gives where numpy reads numbers goes through :func:`as_array`.  What an object of ours gives as
its state goes through :func:`plain`, what it gets back through :func:`restored`.
"""

from __future__ import annotations

import copyreg
from collections import OrderedDict

import numpy as np
import torch
from torch import nn


def as_array(value):
    """A tensor on any device as an array; anything else as it is.

    Formats that numpy has not, such as bfloat16, become single precision.
    """
    if not isinstance(value, torch.Tensor):
        return value
    values = value.detach().cpu()
    known = not values.is_floating_point() or values.dtype in (torch.float16, torch.float32, torch.float64)
    return (values if known else values.float()).numpy()


class PlainTensor:
    """A tensor as an array: of its own type, or of integers of its width where numpy lacks the type (bfloat16)."""

    def __init__(self, tensor):
        values = tensor.detach().cpu()
        try:
            self.array = values.numpy()
        except TypeError:
            self.array = values.view(_integers(values.dtype)).numpy()
        self.dtype = str(values.dtype).removeprefix("torch.")
        self.parameter = isinstance(tensor, nn.Parameter)
        self.requires_grad = tensor.requires_grad

    def restored(self, made):
        array = np.asarray(self.array)
        # A file that is mapped into memory may be read only, and torch would write through it.
        values = torch.from_numpy(array if array.flags.writeable else array.copy())
        values = values.view(getattr(torch, self.dtype))
        if self.parameter:
            return nn.Parameter(values, requires_grad=self.requires_grad)
        return values.requires_grad_(self.requires_grad)


class PlainModule:
    """A module as its class and its attributes, which are what pickle keeps of one."""

    def __init__(self, module):
        self.made_by, self.attributes = type(module), None

    def restored(self, made):
        module = made[id(self)] = self.made_by.__new__(self.made_by)
        module.__setstate__(_mapped(self.attributes, lambda value: _restored(value, made)))
        return module


def plain(state):
    """A state whose tensors and modules, in dicts, lists and tuples too, are plain; the others are the same objects.

    Modules and tensors that say themselves how they are copied or stored stay as they are, and so does what torch
    alone can hold, such as sparse tensors.
    """
    return _plain(state, {})


def restored(state):
    """The state that :func:`plain` was given; what was one object is one again."""
    return _restored(state, {})


def on_cpu(state):
    """A state whose tensors, in dicts, lists and tuples too, are on the CPU; those that are there stay the same."""
    return state.cpu() if isinstance(state, torch.Tensor) else _mapped(state, on_cpu)


def _plain(value, made):
    if id(value) in made:
        return made[id(value)]
    if type(value) in (torch.Tensor, nn.Parameter) and value.layout is torch.strided:
        made[id(value)] = PlainTensor(value)
    elif isinstance(value, nn.Module) and _stored_by_attributes(type(value)):
        # Known before its attributes, which may lead back to it.
        made[id(value)] = found = PlainModule(value)
        found.attributes = _mapped(value.__getstate__(), lambda part: _plain(part, made))
    else:
        return _mapped(value, lambda part: _plain(part, made))
    return made[id(value)]


def _restored(value, made):
    if not isinstance(value, PlainTensor | PlainModule):
        return _mapped(value, lambda part: _restored(part, made))
    if id(value) not in made:
        made[id(value)] = value.restored(made)
    return made[id(value)]


def _mapped(value, change):
    """A container with every item changed; itself where no item does, as for all that is no container."""
    if type(value) in (dict, OrderedDict):
        changed = type(value)((key, change(item)) for key, item in value.items())
        same = all(changed[key] is item for key, item in value.items())
    elif type(value) in (list, tuple):
        changed = type(value)(change(item) for item in value)
        same = all(new is old for new, old in zip(changed, value, strict=True))
    else:
        return value
    return value if same else changed


def _stored_by_attributes(cls):
    """Whether pickle and copy keep modules of a class by their attributes alone."""
    own = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__deepcopy__")
    as_modules = all(getattr(cls, name, None) is getattr(nn.Module, name, None) for name in own)
    return as_modules and cls not in copyreg.dispatch_table


def _integers(dtype):
    return getattr(torch, f"int{8 * dtype.itemsize}")
