"""
Keep neighbours or large distances: one weight
==============================================

A map of few dimensions cannot keep all distances.  t-SNE keeps the nearest neighbours, and the distances between groups
mean little; metric scaling keeps the order of large distances, and mixes near rows.  Both are a KL divergence between a
p of the data and a q of the map, so their weighted sum is a loss as well, and the weight leads from one kind of map to
the other.
"""

# %%
# ``recipes.dreams`` is t-SNE with a further term: a p and a q that are Gaussians as their widths go to infinity.  The
# rows are colours, 400 pixels of a photograph: red, green and blue.  Most are dark greens, and few lie between these
# and the orange of the flower.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_sample_image

from iconlearn import recipes
from iconlearn.metrics import neighbor_recall

photograph = load_sample_image("flower.jpg")
pixels = photograph.reshape(-1, 3)
X = np.random.default_rng(0).choice(pixels, 400, replace=False) / 255

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
# Each pixel is drawn in its own colour.  t-SNE spreads the dark greens, since they are many, and cuts the flower off;
# metric scaling shows how far apart colours are, and presses near ones together.  The weight is a choice between them.

figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
*panels, last = axes.flat
for panel, (name, Z) in zip(panels, maps.items(), strict=True):
    panel.scatter(*Z.T, c=X, s=16, linewidths=0)
    panel.set(xticks=[], yticks=[])
    panel.set_aspect("equal", adjustable="datalim")
    panel.set_title(f"{name}\nneighbours {near[name]:.2f}, order {order[name]:.2f}", fontsize=11)
inset = panels[0].inset_axes([0.52, 0.68, 0.46, 0.3])
inset.imshow(photograph)
inset.axis("off")
last.plot(list(near.values()), list(order.values()), "-", color="0.7", zorder=0)
for name in maps:
    last.scatter(near[name], order[name], color="tab:red" if "weight" in name else "k", s=25)
    side = "left" if name in ("t-SNE", "weight 10", "weight 100") else "right"
    offset = (7, 2) if side == "left" else (-5, -12)
    last.annotate(name, (near[name], order[name]), offset, textcoords="offset points", fontsize=9, ha=side)
last.set(
    xlabel="share of ten neighbours kept", ylabel="Spearman correlation of distances", title="both at once"
)
last.margins(0.5, 0.15)
plt.show()
