"""A JSON document beside arrays as Python values again; see :mod:`iconlearn.storage._encode`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from inspect import signature

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator
from torch import nn

from ._classes import class_of
from ._modules import DTYPES, make_module, with_weights
from ._others import make_other


class Decoder:
    """Puts values together.

    Parameters
    ----------
    document : dict
    arrays : dict of ndarray
    given : dict of object or None, default=None
        What the writer named instead of storing it.
    """

    def __init__(self, document, arrays, given=None):
        self.nodes, self.root = document["nodes"], document["root"]
        self.arrays, self.given, self.made = arrays, given or {}, {}

    def value(self):
        """What the document describes.

        Raises
        ------
        ValueError
            If it names a kind or a class that is not known here, or needs something that was not given.
        """
        return self.decode(self.root)

    def decode(self, item):
        """The value of one piece of JSON."""
        if not isinstance(item, dict):
            return item
        if "given" in item:
            return self._given(item["given"])
        place = item["ref"]
        if place not in self.made:
            node = self.nodes[place]
            make = getattr(self, f"_{node['kind'].replace(' ', '_')}", None)
            if make is None:
                raise ValueError(f"it holds a value of unknown kind {node['kind']!r}")
            self.made[place] = make(node)
        return self.made[place]

    def mapping(self, items):
        """A dict of values."""
        return {key: self.decode(item) for key, item in items.items()}

    def items(self, items):
        """A list of values."""
        return [self.decode(item) for item in items]

    def _given(self, name):
        if name not in self.given:
            raise ValueError(f"it names {name!r}, which was not given")
        return self.given[name]

    def _object(self, node):
        cls = self._class(node)
        if is_dataclass(cls):
            return self._called(cls, node)
        return revived(cls, self.mapping(node["state"]))

    def _named_tuple(self, node):
        return self._called(self._class(node), node)

    def _class(self, node):
        cls = class_of(node["class"])
        if cls is None:
            raise ValueError(
                f"it holds an object of class {node['class']!r}, which this iconlearn does not know: register it in "
                f"iconlearn.registry.COMPONENTS, or use the version that wrote the file"
            )
        return cls

    def _called(self, cls, node):
        """An object of a class that is called with its fields, but for those that it finds itself."""
        state = self.mapping(node["state"])
        own = [field.name for field in fields(cls) if not field.init] if is_dataclass(cls) else []
        found = {name: state.pop(name) for name in own if name in state}
        try:
            value = cls(**state)
            if found:
                vars(value).update(found)
            return value
        except TypeError as error:
            raise ValueError(f"its {node['class']} is not of this version: {error}") from error

    def _other(self, node):
        try:
            value = make_other(node["class"], self.mapping(node["parts"]))
        except (AttributeError, ImportError, TypeError) as error:
            raise ValueError(f"its {node['class']} cannot be made here: {error}") from error
        if value is None:
            raise ValueError(f"it holds a {node['class']}, which this iconlearn does not know")
        return value

    def _array(self, node):
        return self.arrays[node["entry"]]

    def _scalar(self, node):
        return self.arrays[node["entry"]][()]

    def _objects(self, node):
        array = np.empty(len(node["items"]), dtype=object)
        array[:] = self.items(node["items"])
        return array.reshape(node["shape"])

    def _sparse(self, node):
        parts = [self.decode(node[name]) for name in ("data", "indices", "indptr")]
        kinds = {
            ("csr", True): sparse.csr_array, ("csr", False): sparse.csr_matrix,
            ("csc", True): sparse.csc_array, ("csc", False): sparse.csc_matrix,
        }  # fmt: skip
        made = kinds[node["stored"], node["array"]](tuple(parts), shape=tuple(node["shape"]), copy=False)
        made.check_format(full_check=True)
        return made.asformat(node["format"])

    def _tensor(self, node):
        raw = torch.from_numpy(self.arrays[node["entry"]].copy())
        # torch views no empty bytes as numbers.
        value = raw.view(DTYPES[node["dtype"]]) if len(raw) else raw.to(DTYPES[node["dtype"]])
        value = value.reshape(node["shape"])
        if node["parameter"]:
            return nn.Parameter(value, requires_grad=node["requires_grad"])
        return value.requires_grad_(node["requires_grad"])

    def _module(self, node):
        module = make_module(node["type"], node["options"], self.items(node["children"]))
        return with_weights(module, self.mapping(node["state"]), node["training"], node["free"])

    def _asked(self, node):
        answer = self.given.get(node["slot"])
        if answer is None:
            what = (
                f"a module of class {node['class']}" if "class" in node else "a function that makes modules"
            )
            raise ValueError(
                f"it was fitted with {what} for {node['slot']}, and holds the weights but not the code; give a module "
                f"of the same layers: iconlearn.load(path, {node['slot']}=module)"
            )
        if "state" not in node:
            return answer
        if not isinstance(answer, nn.Module):
            raise ValueError(
                f"{node['slot']}={answer!r} must be a torch.nn.Module, not a function that makes one: how wide to "
                f"make it is not in the file"
            )
        return with_weights(answer, self.mapping(node["state"]), node["training"], node["free"])

    def _list(self, node):
        return self.items(node["items"])

    def _tuple(self, node):
        return tuple(self.items(node["items"]))

    def _dict(self, node):
        return dict(zip(self.items(node["keys"]), self.items(node["values"]), strict=True))

    def _slice(self, node):
        return slice(*self.items(node["items"]))

    def _random_state(self, node):
        value = np.random.RandomState()
        value.set_state(self.decode(node["state"]))
        return value


def revived(cls, state):
    """An object with these attributes.

    Parameters that its class got later than the file was written have their defaults.
    """
    value = cls.__new__(cls)
    # In the order of the file: the key of a checkpoint depends on it.
    if not issubclass(cls, BaseEstimator):
        vars(value).update(state)
    else:
        value.__setstate__(state)
        for parameter in signature(cls).parameters.values():
            if parameter.default is not parameter.empty:
                vars(value).setdefault(parameter.name, parameter.default)
    return value
