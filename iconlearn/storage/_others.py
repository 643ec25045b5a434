"""Values of other libraries that estimators hold: what they are made of, as plain values, and made again from that.

pandas is never loaded for a value that is not its own.
"""

from __future__ import annotations

import sys

from sklearn.utils.metadata_routing import MetadataRequest

__all__ = ["make_other", "parts_of"]


def parts_of(value):
    """What a file calls a value of another library, and its parts; None for one that it cannot hold."""
    if isinstance(value, MetadataRequest):
        methods = {name: part.requests for name, part in vars(value).items() if hasattr(part, "requests")}
        owner = value.owner if isinstance(value.owner, str) else type(value.owner).__name__
        return "sklearn.MetadataRequest", {"owner": owner, "methods": {k: v for k, v in methods.items() if v}}
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    if value is pandas.NA:
        return "pandas.NA", {}
    if isinstance(value, pandas.Series):
        return "pandas.Series", {**_column(value), "index": value.index}
    if isinstance(value, pandas.Index) and value.nlevels == 1:
        return "pandas.Index", _column(value)
    return None


def make_other(name, parts):
    """A value from its parts; None for a name that is not known here."""
    make = MAKE.get(name)
    return None if make is None else make(**parts)


def _column(value):
    return {"data": value.to_numpy(), "dtype": str(value.dtype), "name": value.name}


def _request(owner, methods):
    made = MetadataRequest(owner=owner)
    for method, wanted in methods.items():
        for name, alias in wanted.items():
            getattr(made, method).add_request(param=name, alias=alias)
    return made


def _na():
    import pandas

    return pandas.NA


def _series(**parts):
    import pandas

    return pandas.Series(**parts)


def _index(**parts):
    import pandas

    return pandas.Index(**parts)


MAKE = {
    "sklearn.MetadataRequest": _request,
    "pandas.NA": _na,
    "pandas.Series": _series,
    "pandas.Index": _index,
}
