"""Values of other libraries that estimators hold: what they are made of, as plain values, and made again from that.

pandas is never loaded for a value that is not its own.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest


def parts_of(value):
    """What a file calls a value of another library, and its parts; None for one that it cannot hold."""
    if isinstance(value, MetadataRequest):
        methods = {name: part.requests for name, part in vars(value).items() if hasattr(part, "requests")}
        owner = value.owner if isinstance(value.owner, str) else type(value.owner).__name__
        return "sklearn.MetadataRequest", {"owner": owner, "methods": {k: v for k, v in methods.items() if v}}
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    for name, missing in (("pandas.NA", pandas.NA), ("pandas.NaT", pandas.NaT)):
        if value is missing:
            return name, {}
    if isinstance(value, pandas.DataFrame):
        return "pandas.DataFrame", _frame_parts(value)
    if isinstance(value, pandas.Series):
        return "pandas.Series", {**_column(value), "index": value.index}
    if isinstance(value, pandas.MultiIndex):
        levels = [value.get_level_values(k) for k in range(value.nlevels)]
        return "pandas.MultiIndex", {"arrays": levels, "names": list(value.names)}
    if isinstance(value, pandas.Index):
        return "pandas.Index", _column(value)
    if isinstance(value, pandas.Categorical):
        parts = {"codes": value.codes, "categories": value.categories, "ordered": value.ordered}
        return "pandas.Categorical", parts
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return "pandas.array", {"data": value.to_numpy(), "dtype": str(value.dtype)}
    return None


def make_other(name, parts):
    """A value from its parts; None for a name that is not known here."""
    make = MAKE.get(name)
    return None if make is None else make(**parts)


def _column(value):
    data = value.array if str(value.dtype) == "category" else value.to_numpy()
    return {"data": data, "dtype": str(value.dtype), "name": value.name}


def _frame_parts(frame):
    """One array where all columns are of one type of numpy, else a series for each."""
    labels = {"index": frame.index, "columns": frame.columns}
    kinds = set(frame.dtypes)
    if len(kinds) == 1 and isinstance(kinds.pop(), np.dtype):
        return {"data": frame.to_numpy(), **labels}
    return {"data": [frame.iloc[:, k] for k in range(frame.shape[1])], **labels}


def _request(owner, methods):
    made = MetadataRequest(owner=owner)
    for method, wanted in methods.items():
        for name, alias in wanted.items():
            getattr(made, method).add_request(param=name, alias=alias)
    return made


def _of_pandas(name):
    """What pandas calls by a name: a value that is missing, or a class or function that is called with the parts."""

    def make(**parts):
        import pandas

        found = getattr(pandas, name)
        return found(**parts) if callable(found) else found

    return make


def _frame(data, index, columns):
    import pandas

    if not isinstance(data, list):
        return pandas.DataFrame(data, index=index, columns=columns)
    # By position, since names may be there twice.
    made = pandas.DataFrame(dict(enumerate(data)), index=index)
    made.columns = columns
    return made


def _categorical(codes, **rest):
    import pandas

    return pandas.Categorical.from_codes(codes, **rest)


def _multi_index(arrays, names):
    import pandas

    return pandas.MultiIndex.from_arrays(arrays, names=names)


MAKE = {
    "sklearn.MetadataRequest": _request,
    **{f"pandas.{name}": _of_pandas(name) for name in ("NA", "NaT", "Series", "Index", "array")},
    "pandas.Categorical": _categorical,
    "pandas.DataFrame": _frame,
    "pandas.MultiIndex": _multi_index,
}
