"""
Keep neighbours or large distances: one weight
==============================================

A map of few dimensions cannot keep all distances.  t-SNE keeps the nearest neighbours, and the distances between groups
mean little; metric scaling keeps the order of large distances, and mixes near rows.  Both are a KL divergence between a
p of the data and a q of the map, so their weighted sum is a loss as well, and the weight leads from one kind of map to
the other.
"""

# %%
# ``recipes.dreams`` is t-SNE with a further term: a p and a q that are Gaussians as their widths go to infinity.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from iconlearn import recipes
from iconlearn.metrics import neighbor_recall

X, y = load_digits(return_X_y=True)
X, y = X[:400] / 16, y[:400]

maps = {"t-SNE": recipes.tsne(random_state=0).fit_transform(X)}
for weight in (10, 100, 400):
    maps[f"weight {weight}"] = recipes.dreams(global_weight=weight, random_state=0).fit_transform(X)
maps["metric scaling"] = recipes.metric_mds().fit_transform(X)

# %%
# What is kept: the share of the ten nearest rows that are among the ten nearest places, and the rank correlation of
# the distances of many pairs.

pairs = np.random.default_rng(0).integers(len(X), size=(2, 20_000))


def distances(Z):
    return np.linalg.norm(Z[pairs[0]] - Z[pairs[1]], axis=1)


near = {name: neighbor_recall(X, Z, n_neighbors=10) for name, Z in maps.items()}
order = {name: spearmanr(distances(X), distances(Z)).statistic for name, Z in maps.items()}
for name in maps:
    print(f"{name:>15}: {near[name]:.2f} of ten neighbours kept, distances in order {order[name]:.2f}")

# %%
# Colours are digits.  No map keeps both; the weight is a choice between them.

figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
*panels, last = axes.flat
for panel, (name, Z) in zip(panels, maps.items(), strict=True):
    panel.scatter(*Z.T, c=y, cmap="tab10", vmin=-0.5, vmax=9.5, s=6, linewidths=0)
    panel.set(xticks=[], yticks=[])
    panel.set_aspect("equal", adjustable="datalim")
    panel.set_title(f"{name}\nneighbours {near[name]:.2f}, order {order[name]:.2f}", fontsize=10)
last.plot(list(near.values()), list(order.values()), "-", color="0.7", zorder=0)
for name in maps:
    last.scatter(near[name], order[name], color="tab:red" if "weight" in name else "k", s=25)
    last.annotate(
        name, (near[name], order[name]), (-7, -10), textcoords="offset points", fontsize=8, ha="right"
    )
last.set(
    xlabel="share of ten neighbours kept", ylabel="Spearman correlation of distances", title="both at once"
)
last.margins(0.5, 0.15)
plt.show()
