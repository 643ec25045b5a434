"""Descriptions of rows that are in no sweep of defaults: single views, words by their weights, parts of larger sets.

Five p were compared on them before 20 neighbours were settled on (doc/clustering.md).
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
from _loaders import from_file, units
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.preprocessing import StandardScaler, normalize

__all__ = ["FURTHER"]


def _topics(weights, n_components):
    """Latent semantic analysis: leading components of TF-IDF weights, rows of unit length."""
    return normalize(TruncatedSVD(n_components, random_state=0).fit_transform(weights))


def _texts(name, folder):
    with (folder / f"{name}.json").open() as file:
        held = json.load(file)
    words = TfidfVectorizer(sublinear_tf=True, min_df=3, stop_words="english")
    return _topics(words.fit_transform(held["texts"]), 100), np.asarray(held["labels"])


def _news(view, folder):
    with np.load(folder / "mv_bbc.npz") as file:
        counts, y = sparse.csr_array(file[f"X{view}"].astype(float)), file["y"]
    return _topics(TfidfTransformer(sublinear_tf=True).fit_transform(counts), 50), y


def _papers(folder):
    with np.load(folder / "cora.npz") as file:
        y = file["y"]
    return _topics(TfidfTransformer().fit_transform(sparse.load_npz(folder / "cora_X.npz")), 50), y


def _view(view, folder):
    with np.load(folder / "mv_mfeat.npz") as file:
        return StandardScaler().fit_transform(file[f"X{view}"].astype(float)), file["y"]


def _part(name, rows, folder):
    with np.load(folder / f"{name}.npz") as file:
        X, y = file["X"][rows], file["y"][rows]
    return X.reshape(len(X), -1) / 255.0, y


FURTHER = {
    **{f"mfeat, view {k}": partial(_view, k) for k in range(1, 7)},
    **{f"bbc, view {k}": partial(_news, k) for k in range(1, 5)},
    "cora, words": _papers,
    "agnews, words": partial(_texts, "agnews_test"),
    "banking77, words": partial(_texts, "banking77"),
    "mnist, first 4000": partial(_part, "mnist", slice(4000)),
    "mnist, first 4000 tests": partial(_part, "mnist", slice(60_000, 64_000)),
    "sonar": units("gag_uci_sonar"),
    "cell lines": partial(from_file, "sc_cell_lines"),
    "coil20, every fourth": partial(_part, "coil20", slice(None, None, 4)),
}
