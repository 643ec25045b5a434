"""Places and what is said of them: what every picture of a map checks and decides before it draws."""

from __future__ import annotations

import numpy as np

from .._checks import check_choice

__all__ = ["are_groups", "checked_places"]

# Whole numbers of more different values than this are a scale, not groups.
MAX_GROUPS = 50


def checked_places(embedding, values, kind):
    """The embedding as an array, once a picture of it can be drawn.

    Raises
    ------
    ValueError
        Where it has other than two or three dimensions, `values` another length, or `kind` is unknown.
    """
    embedding = np.asarray(embedding)
    if embedding.ndim != 2 or embedding.shape[1] not in (2, 3):
        raise ValueError(
            f"the embedding has shape {embedding.shape}: a picture shows two or three dimensions; choose some, "
            f"for example Z[:, :2]"
        )
    if values is not None and len(values) != len(embedding):
        raise ValueError(f"there are {len(values)} values for {len(embedding)} points: give one for each")
    if kind is not None:
        check_choice("kind", kind, ("groups", "scale"))
    return embedding


def are_groups(values, kind):
    """Whether values name groups; where `kind` does not say, fractions and many whole numbers are a scale."""
    if kind is not None or values is None:
        return kind != "scale"
    values = np.asarray(values)
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        return bool((known == np.round(known)).all()) and len(np.unique(known)) <= MAX_GROUPS
    return values.dtype.kind not in "iu" or len(np.unique(values)) <= MAX_GROUPS
