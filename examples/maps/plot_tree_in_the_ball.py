"""
Map a tree into the Poincaré ball
=================================

Each level of this tree has three times as many nodes as the one before.  A plane has no room for that, and a map folds
the branches.  Hyperbolic space grows as fast as the tree, so a map in the Poincaré ball has the root in the middle and
the leaves near the boundary, where the same length in the picture is a larger distance.
"""

# %%
# A tree with three branches at every node, and all distances along it.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from iconlearn import recipes
from iconlearn.displays import EmbeddingDisplay
from iconlearn.metrics import hyperbolic_distances
from iconlearn.supervisory import Gaussian, Symmetrize

nodes = np.arange(1, 121)
parents = (nodes - 1) // 3
edges = np.zeros((121, 121))
edges[nodes, parents] = 1
D = shortest_path(edges, directed=False, unweighted=True)
depth = D[0].astype(int)

# %%
# The same p, from the distances along the tree, with two q.  The map in the ball has another loss, and its distances
# are hyperbolic.

p = Symmetrize(Gaussian(5, metric="precomputed", n_neighbors=None))
plane = recipes.tsne(random_state=0).set_params(p=p).fit(D)
ball = recipes.cosne(gamma=2, random_state=0).set_params(p=p).fit(D)

# %%
# How well each keeps the order of all distances: Spearman's correlation of them with those along the tree.

pairs = np.triu_indices(len(D), 1)
fig, axes = plt.subplots(1, 2, figsize=(11, 5.5))
apart = {
    "t-SNE, the plane": (plane, cdist(plane.embedding_, plane.embedding_)),
    "CO-SNE, the Poincaré ball": (ball, hyperbolic_distances(ball.embedding_)),
}
for ax, (name, (model, distances)) in zip(axes, apart.items(), strict=True):
    kept = spearmanr(D[pairs], distances[pairs])[0]
    EmbeddingDisplay.from_estimator(
        model, D, depth, ax=ax, size=18, kind="groups", title=f"{name}\ndistances in order: {kept:.2f}"
    )
    places = model.embedding_
    lines = np.stack([places[nodes], places[parents]], axis=1)
    ax.add_collection(LineCollection(lines, colors="0.8", linewidths=0.7, zorder=0))
fig.tight_layout()
plt.show()
