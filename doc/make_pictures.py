"""Draw a small picture of every method that makes a map or clusters, for periodic_table.md.

python doc/make_pictures.py [KEY ...]

All are fitted to the same 600 digits. A map is drawn as it is, and outputs of more dimensions as t-SNE's map of them;
clusters are colours on one common map. The pictures (some kilobytes each) are made when the docs are built and
are not kept in the repository.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from make_periodic_table import has_picture
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph

import iconlearn
from iconlearn import recipes
from iconlearn.metrics import clustering_accuracy

FOLDER = Path(__file__).with_name("pictures")
SIDE = 2.0  # inches
N_ROWS = 600


def fitted(entry, X, y):
    """The recipe on the digits, with what it needs to know about them."""
    own = {"split": X.shape[1] // 2, "n_clusters": 10, "shape": (8, 8), "step": 8}
    model = entry(random_state=0, **{name: own[name] for name in own if name in entry.parameters})
    if "step" in entry.parameters:
        model.set_params(max_iter=20)  # an epoch of a recurrent network takes a second
    if entry.data == "graph":
        graph = kneighbors_graph(X, 10).toarray()
        return model.fit(np.maximum(graph, graph.T))
    return model.fit(X, y) if entry.data == "labelled" else model.fit(X)


def draw(places, colours, title, path):
    figure, axes = plt.subplots(figsize=(SIDE, SIDE))
    axes.scatter(*places.T, c=colours, s=3, cmap="tab10", vmin=0, vmax=9, linewidths=0)
    axes.set_title(title, fontsize=7.5)
    axes.set(xticks=[], yticks=[])
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80, pil_kwargs={"optimize": True})
    plt.close(figure)


def main(keys):
    X, y = (part[:N_ROWS] for part in load_digits(return_X_y=True))
    X, common = X / 16, None
    FOLDER.mkdir(exist_ok=True)
    for entry in iconlearn.periodic_table():
        if not has_picture(entry) or (keys and entry.key not in keys):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fitted(entry, X, y)
        if entry.estimator == "ICONClustering":
            if common is None:
                common = recipes.tsne(random_state=0).fit_transform(X)
            places, colours = common, model.labels_
            title = f"{entry.name}\n{100 * clustering_accuracy(y, colours):.0f} % right"
        else:
            places, colours, title = model.embedding_, y, entry.name
            if places.shape[1] > 2:
                places = recipes.tsne(random_state=0).fit_transform(places)
        draw(places, colours, title, FOLDER / f"{entry.key}.png")
        print(entry.key, flush=True)


if __name__ == "__main__":
    unknown = [key for key in sys.argv[1:] if key not in recipes.RECIPES]
    if unknown:
        sys.exit(f"no recipe is called {unknown[0]!r}; see iconlearn.recipes")
    main(sys.argv[1:])
