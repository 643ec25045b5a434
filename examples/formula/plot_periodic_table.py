"""
Combine four p with four q
==========================

Sixteen methods on the same three hundred digits.  A column is a choice of ``p``, which rows should be near each other;
a row is a choice of ``q``, the similarity of two places of the map:

.. math::

    L = \\frac{1}{n} \\sum_i D\\big(p(\\cdot|i)\\,\\|\\,q(\\cdot|i)\\big).

Four of the sixteen are SNE, t-SNE, t-SNE with uniform affinities and supervised contrastive learning; the
others are the remaining combinations.
"""

# %%
# The last two rows of ``q`` are a limit and a kernel between clusters.  The limit needs bounded places, so its map is
# on a circle.  Rows of a clustering are drawn in a decagon: each corner is a cluster, and each digit is at the mean of
# the corners, weighted by its probabilities.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from iconlearn import ICONClustering, ICONEmbedding, learned, supervisory

X, y = load_digits(return_X_y=True)
X, y = X[:300], y[:300]

ps = {
    "Gaussian": supervisory.Gaussian(perplexity=15),
    "k nearest": supervisory.KNN(10),
    "random walk": supervisory.Walk(supervisory.KNN(5), length=2),
    "same class": supervisory.Labels(),
}
qs = {
    "Gaussian": learned.Gaussian(),
    "Student-t": learned.Student(),
    "Gaussian, σ → ∞": learned.WideGaussian(),
    "clusters": learned.Cluster(),
}


def fitted(p, q):
    """A map, or the soft assignments of a clustering."""
    if getattr(q, "shared_clusters", False):
        model = ICONClustering(10, p=p, q=q, n_init=2, debias=0.05, random_state=0).fit(X, y)
        angles = 2 * np.pi * np.arange(model.n_clusters_) / model.n_clusters_
        return model.probabilities_ @ np.column_stack([np.cos(angles), np.sin(angles)]), model
    # On a circle points have to pass through one another; Adam's steps, scaled for each coordinate, do.
    method = "adam" if getattr(q, "sphere", False) else "auto"
    model = ICONEmbedding(2, p=p, q=q, max_iter=250, optimizer=method, random_state=0).fit(X, y)
    return model.embedding_, model


# %%
# The grid.  Colours are the digits, which are known in the last column alone.

COLOURS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
    "#DDCC77", "#CC6677", "#882255", "#AA4499", "#888888",
)  # fmt: skip
figure, axes = plt.subplots(len(qs), len(ps), figsize=(11, 11.4))
figure.subplots_adjust(left=0.05, right=0.99, top=0.95, bottom=0.05, wspace=0.05, hspace=0.12)
jitter = np.random.default_rng(0)
for (i, j), ax in np.ndenumerate(axes):
    (q_name, q), (p_name, p) = list(qs.items())[i], list(ps.items())[j]
    Z, model = fitted(p, q)
    spread = (
        0.02 * np.ptp(Z) * jitter.normal(size=Z.shape) if q_name in ("clusters", "Gaussian, σ → ∞") else 0
    )
    ax.scatter(*(Z + spread).T, c=np.array(COLOURS)[y], s=8, linewidths=0)
    ax.set(xticks=[], yticks=[])
    ax.text(
        0.98, 0.02, f"loss {model.loss_:.2f}", ha="right", transform=ax.transAxes, fontsize=8, color="0.4"
    )
    if j == 0:
        ax.set_ylabel(f"q: {q_name}", fontsize=12)
    if i == 0:
        ax.set_title(f"p: {p_name}", fontsize=12)
digits = [plt.Line2D([], [], marker="o", ls="", color=colour) for colour in COLOURS]
figure.legend(digits, range(10), loc="lower center", ncols=10, frameon=False, handletextpad=0.1, fontsize=12)
plt.show()
