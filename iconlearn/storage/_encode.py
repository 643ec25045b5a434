"""Python values as a JSON document beside arrays.

Numbers, strings and None stand for themselves; everything else is a node ``{"kind": ...}`` of a list, which other
nodes refer to as ``{"ref": position}``, so that what is shared stays shared.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import singledispatchmethod

import numpy as np
import torch
from scipy import sparse
from torch import nn

from .._torch_state import restored
from ._classes import name_of
from ._modules import children_of, describe
from ._others import parts_of

# Attributes in which an estimator holds modules, and functions that make them.
SLOTS = ("column_mapper", "mapper")


class Encoder:
    """Takes values apart.

    Parameters
    ----------
    given : dict of object or None, default=None
        Values that are named and not stored: the reader has them and gives them again.

    Attributes
    ----------
    arrays : dict of ndarray
        What the document refers to.
    """

    def __init__(self, given=None):
        self.nodes, self.arrays, self.places, self.kept = [], {}, {}, []
        self.given = {id(value): name for name, value in (given or {}).items()}

    def document(self, value):
        """A document of the value; ``arrays`` belongs to it.

        Raises
        ------
        TypeError
            If any part of it is code, or of a class that is not the package's.
        """
        return {"root": self.encode(value, ""), "nodes": self.nodes}

    def encode(self, value, path):
        """JSON for a value that is found at `path`."""
        if id(value) in self.given:
            return {"given": self.given[id(value)]}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) not in self.places:
            # Kept alive, so that no other object takes its id; placed before its parts, which may refer to it.
            self.kept.append(value)
            self.places[id(value)] = len(self.nodes)
            self.nodes.append(None)
            self.nodes[self.places[id(value)]] = self._node(value, path)
        return {"ref": self.places[id(value)]}

    def mapping(self, items, path):
        """JSON for a dict of values by their names."""
        return {key: self.encode(item, f"{path}.{key}" if path else key) for key, item in items.items()}

    def items(self, values, path):
        """JSON for a sequence of values."""
        return [self.encode(item, f"{path}[{k}]") for k, item in enumerate(values)]

    def _entry(self, array):
        name = f"array{len(self.arrays)}"
        self.arrays[name] = array
        return name

    @singledispatchmethod
    def _node(self, value, path):
        """The node of a value, by its type: here, of an object of one of the package's classes."""
        name = None if isinstance(value, type) else name_of(type(value))
        if name is not None:
            return {"kind": "object", "class": name, "state": self.mapping(_state_of(value), path)}
        other = parts_of(value)
        if other is not None:
            return {"kind": "other", "class": other[0], "parts": self.mapping(other[1], path)}
        if path in SLOTS and callable(value):
            return {"kind": "asked", "slot": path}
        raise self._refused(value, path)

    @staticmethod
    def _refused(value, path):
        return TypeError(
            f"{path or 'the value'} is {value!r:.200}, which is code or of a class that is not the package's, and "
            f"a file without code cannot hold it; pickle the estimator instead, or register the class in "
            f"iconlearn.registry.COMPONENTS"
        )

    @_node.register
    def _(self, value: np.ndarray, path):
        if value.dtype == object:
            return {
                "kind": "objects", "shape": list(value.shape), "items": self.items(value.ravel().tolist(), path)
            }  # fmt: skip
        return {"kind": "array", "entry": self._entry(value)}

    @_node.register
    def _(self, value: np.generic, path):
        return {"kind": "scalar", "entry": self._entry(np.asarray(value))}

    @_node.register(sparse.sparray)
    @_node.register(sparse.spmatrix)
    def _(self, value, path):
        stored = value if value.format in ("csr", "csc") else value.tocsr()
        parts = {name: self.encode(getattr(stored, name), path) for name in ("data", "indices", "indptr")}
        return {
            "kind": "sparse", "format": value.format, "stored": stored.format, "shape": list(map(int, value.shape)),
            "array": isinstance(value, sparse.sparray), **parts,
        }  # fmt: skip

    @_node.register
    def _(self, value: torch.Tensor, path):
        # As bytes: numpy does not know all of torch's precisions.
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return {
            "kind": "tensor", "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape),
            "entry": self._entry(flat.numpy()), "parameter": isinstance(value, nn.Parameter),
            "requires_grad": value.requires_grad,
        }  # fmt: skip

    @_node.register
    def _(self, value: nn.Module, path):
        weights = {
            "state": self.mapping(value.state_dict(), path),
            "training": value.training,
            "free": {name: parameter.requires_grad for name, parameter in value.named_parameters()},
        }
        kind = describe(value)
        if kind is None:
            slot = SLOTS[0] if path.startswith(SLOTS[0]) else SLOTS[1]
            return {"kind": "asked", "slot": slot, "class": type(value).__qualname__, **weights}
        name, options = kind
        return {
            "kind": "module", "type": name, "options": options,
            "children": self.items(children_of(value), path), **weights,
        }  # fmt: skip

    @_node.register(list)
    @_node.register(tuple)
    def _(self, value, path):
        if hasattr(value, "_fields"):
            name = name_of(type(value))
            if name is None:
                raise self._refused(value, path)
            return {"kind": "named tuple", "class": name, "state": self.mapping(value._asdict(), path)}
        return {"kind": "tuple" if isinstance(value, tuple) else "list", "items": self.items(value, path)}

    @_node.register
    def _(self, value: dict, path):
        return {"kind": "dict", "keys": self.items(value, path), "values": self.items(value.values(), path)}

    @_node.register
    def _(self, value: slice, path):
        return {"kind": "slice", "items": self.items((value.start, value.stop, value.step), path)}

    @_node.register
    def _(self, value: np.random.RandomState, path):
        return {"kind": "random state", "state": self.encode(value.get_state(legacy=False), path)}


def _state_of(value):
    """The fields of a dataclass (what it remembers besides can be found again), else all attributes."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return restored(value.__getstate__() or {})
