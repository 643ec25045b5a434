"""Labelled sets for benchmarks of clusterings: what scikit-learn ships, and files of a data folder.

Every method gets the same features.  Measurements in different units are standardised to unit variance;
pixels, coordinates, sentence features and principal components share a unit and stay as they are.
"""

from __future__ import annotations

import pathlib
from functools import partial

import numpy as np
from _common import mnist
from _further import FURTHER
from _loaders import from_file, standardised, units
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

__all__ = ["SETS", "features", "shapes"]


def features(name, folder, n_rows=None):
    """Features (float32) and labels 0, 1, ... of a set; at most `n_rows` rows, drawn once and for all."""
    load = (SETS | FURTHER).get(name, partial(from_file, name))
    X, y = load(pathlib.Path(folder))
    if n_rows is not None and len(X) > n_rows:
        chosen = np.random.RandomState(0).permutation(len(X))[:n_rows]
        X, y = X[chosen], y[chosen]
    return np.ascontiguousarray(X, dtype=np.float32), np.unique(y, return_inverse=True)[1]


def shapes(folder):
    """Names of the shapes of the clustering benchmark suite (its real sets are not shapes)."""
    found = sorted(path.stem for path in pathlib.Path(folder).glob("gag_*.npz"))
    return [name for name in found if not name.startswith("gag_uci_")]


def noise(name, y):
    """Rows that a shape calls noise: its label 0, where the suite says so."""
    return y == 0 if name in WITH_NOISE else np.zeros(len(y), dtype=bool)


WITH_NOISE = ("gag_graves_zigzag_noisy", "gag_other_chameleon_t7_10k", "gag_other_hdbscan")


def _shipped(load, folder):
    return load(return_X_y=True)


def _digits_of_mnist(folder):
    X, y = mnist(folder)
    return PCA(50, random_state=0).fit_transform(X), y


def _views(folder):
    """Six descriptions of the same handwritten digits, side by side, of equal weight."""
    with np.load(folder / "mv_mfeat.npz") as file:
        views = [file[f"X{k}"] for k in range(1, 7)]
        y = file["y"]
    return np.hstack([StandardScaler().fit_transform(X) / X.shape[1] ** 0.5 for X in views]), y


SETS = {
    "digits": partial(_shipped, datasets.load_digits),
    "pendigits": partial(from_file, "pendigits"),
    "coil20": partial(from_file, "coil20"),
    "mfeat": _views,
    "banking77": partial(from_file, "banking77_minilm"),
    "agnews": partial(from_file, "agnews_minilm"),
    "bladder": partial(from_file, "sc_mouse_bladder"),
    "wine": partial(standardised, partial(_shipped, datasets.load_wine)),
    "cancer": partial(standardised, partial(_shipped, datasets.load_breast_cancer)),
    "iris": partial(standardised, partial(_shipped, datasets.load_iris)),
    "dermatology": units("dermatology"),
    "segment": units("segment"),
    "vehicle": units("vehicle"),
    "vowel": units("vowel"),
    "ecoli": units("gag_uci_ecoli"),
    "glass": units("gag_uci_glass"),
    "yeast": units("gag_uci_yeast"),
    "ionosphere": units("gag_uci_ionosphere"),
    "covertype": partial(from_file, "covertype93k"),
    "mnist": _digits_of_mnist,
}
