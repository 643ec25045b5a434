"""Sets from files: as they are, or with features of unit variance."""

from __future__ import annotations

from functools import partial

import numpy as np
from sklearn.preprocessing import StandardScaler

__all__ = ["from_file", "standardised", "units"]


def from_file(name, folder):
    with np.load(folder / f"{name}.npz") as file:
        X = file["X"]
        return X.reshape(len(X), -1).astype(np.float32), file["y"]


def standardised(load, folder):
    X, y = load(folder)
    return StandardScaler().fit_transform(X), y


def units(name):
    return partial(standardised, partial(from_file, name))
