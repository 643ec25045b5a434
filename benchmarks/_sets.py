"""Labelled real data for clustering: what scikit-learn ships, and what a folder holds."""

from __future__ import annotations

import pathlib

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

__all__ = ["long_tail", "real_sets"]

# File, whether its columns are measured in different units, and what to divide by.
FILES = {
    "pendigits": ("pendigits.npz", False, 1),
    "coil20": ("coil20.npz", False, 255),
    "banking77": ("banking77_minilm.npz", False, 1),
    "agnews": ("agnews_minilm.npz", False, 1),
    "bladder cells": ("sc_mouse_bladder.npz", False, 1),
    "cell lines": ("sc_cell_lines.npz", False, 1),
    "dermatology": ("dermatology.npz", True, 1),
    "segment": ("segment.npz", True, 1),
    "vehicle": ("vehicle.npz", True, 1),
    "mnist": ("mnist.npz", False, 255),
    "mfeat": ("mv_mfeat.npz", True, 1),
    "vowel": ("vowel.npz", True, 1),
    "ecoli": ("gag_uci_ecoli.npz", False, 1),
    "yeast": ("gag_uci_yeast.npz", True, 1),
    "glass": ("gag_uci_glass.npz", True, 1),
}
N_COLUMNS = 50


def real_sets(folder, max_rows=6000):
    """Yield (name, X, y); large sets are sampled to `max_rows` rows, and pixels of MNIST reduced to 50 columns."""
    yield "digits", *load_digits(return_X_y=True)
    for name, load in (("wine", load_wine), ("breast cancer", load_breast_cancer)):
        X, y = load(return_X_y=True)
        yield name, StandardScaler().fit_transform(X), y
    for name, (file, scale, divisor) in FILES.items():
        path = pathlib.Path(folder) / file
        if not path.exists():
            print(f"{path} is not there; {name} is left out")
            continue
        with np.load(path) as data:
            rows = np.random.RandomState(0).permutation(len(data["X"]))[:max_rows]
            X, y = data["X"][rows], np.unique(data["y"][rows], return_inverse=True)[1]
        X = X.reshape(len(X), -1).astype(np.float32) / divisor
        if scale:
            X = StandardScaler().fit_transform(X)
        yield name, PCA(N_COLUMNS, random_state=0).fit_transform(X) if name == "mnist" else X, y


def long_tail(X, y, smallest, seed):
    """Rows of every class in geometric ratio, the smallest class kept to a share `smallest`, in random order."""
    rng, kept = np.random.RandomState(seed), []
    classes = rng.permutation(np.unique(y))
    for rank, name in enumerate(classes):
        rows = rng.permutation(np.flatnonzero(y == name))
        kept.append(rows[: round(len(rows) * smallest ** (rank / (len(classes) - 1)))])
    kept = np.concatenate(kept)
    return X[kept], y[kept]
