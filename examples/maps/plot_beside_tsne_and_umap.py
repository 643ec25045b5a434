"""
Measure what a map keeps: three libraries
=========================================

Three measures of how well a map shows the data, for maps of the same rows by several libraries:

* *neighbours kept*: the share of a row's 15 nearest neighbours that are among its 15 nearest in the map;
* *labels*: the accuracy of a vote of the ten nearest places, by labels that no map has seen;
* *order of distances*: how often, of two random rows, the one that is nearer in the data is nearer in the map.

umap-learn is included where it is installed.
"""

# %%
# Every library with its own defaults; the times are of the CPU, and include loading and compiling.

import time
from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from iconlearn import ICONEmbedding, recipes
from iconlearn.metrics import neighbor_recall

X, y = load_digits(return_X_y=True)
makers = {
    "ICONEmbedding": ICONEmbedding(random_state=0),
    "recipes.tsne": recipes.tsne(perplexity=30, random_state=0),
    "scikit-learn's TSNE": TSNE(random_state=0),
}
if find_spec("umap"):
    from umap import UMAP

    makers["umap-learn"] = UMAP()

maps, seconds = {}, {}
for name, maker in makers.items():
    begun = time.process_time()
    maps[name] = maker.fit_transform(X)
    seconds[name] = time.process_time() - begun


# %%
# The measures.

i, j, k = np.random.default_rng(0).integers(0, len(X), (3, 100_000))


def nearer(A):
    return ((A[i] - A[j]) ** 2).sum(1) < ((A[i] - A[k]) ** 2).sum(1)


def figures(Z):
    return {
        "neighbours kept": neighbor_recall(X, Z, 15),
        "labels": cross_val_score(KNeighborsClassifier(10), Z, y, cv=10).mean(),
        "order of distances": (nearer(X) == nearer(Z)).mean(),
    }


found = {name: figures(Z) for name, Z in maps.items()}
for name, values in found.items():
    print(f"{name:<20} {seconds[name]:5.1f} CPU s  " + "  ".join(f"{k} {v:.3f}" for k, v in values.items()))

# %%
# The pictures.

COLOURS = np.array(
    [
        "#332288",
        "#88CCEE",
        "#44AA99",
        "#117733",
        "#999933",
        "#DDCC77",
        "#CC6677",
        "#882255",
        "#AA4499",
        "#888888",
    ]
)

figure, axes = plt.subplots(2, 2, figsize=(9, 10))
figure.subplots_adjust(left=0.01, right=0.99, top=0.96, bottom=0.1, wspace=0.04, hspace=0.33)
for ax, (name, Z) in zip(axes.flat, maps.items(), strict=False):
    ax.scatter(*Z.T, c=COLOURS[y], s=5, linewidths=0)
    for digit in range(10):
        ax.annotate(
            str(digit), np.median(Z[y == digit], axis=0), ha="center", va="center", fontsize=13, weight="bold",
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": COLOURS[digit], "alpha": 0.85},
        )  # fmt: skip
    lines = [f"{what} {100 * value:.1f} %" for what, value in found[name].items()]
    ax.set_title(name, loc="left", fontsize=14)
    ax.text(
        0.0,
        -0.03,
        "\n".join([*lines, f"{seconds[name]:.1f} CPU s"]),
        transform=ax.transAxes,
        va="top",
        fontsize=11,
    )
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color("#cccccc")
for ax in axes.flat[len(maps) :]:
    ax.axis("off")
plt.show()
