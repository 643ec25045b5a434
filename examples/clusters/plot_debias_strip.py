"""
Keep rows between clusters uncertain: debias
============================================

``debias=a`` spreads a share ``a`` of both distributions evenly over the n rows:

.. math::

    \\tilde p(j|i) = (1 - a)\\, p(j|i) + a / n, \\qquad \\tilde q(j|i) = (1 - a)\\, q(j|i) + a / n.

No pair can then cost more than :math:`\\log(n / a)`, so a row between two clusters may keep a probability in both, and
outlying rows, which are neighbours of few others, have less influence.  The figure shows the same three overlapping
clouds with a growing share.
"""

# %%
# Three clouds in the plane, and one clustering for every share.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from iconlearn import ICONClustering
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy

centres = 2.6 * np.array([[0, 1], [-0.87, -0.5], [0.87, -0.5]])
X, y = make_blobs(500, centers=centres, cluster_std=1.25, random_state=0)
SHARES = (0.0, 0.4, 0.8)

# One balance for all, so that the shares alone differ.
fits = [ICONClustering(3, q=Cluster(balance=1.0), debias=share, n_init=3, random_state=0) for share in SHARES]
assignments = [fit.fit_transform(X) for fit in fits]

# %%
# Each row's colour is the mean of the three cluster colours, weighted by its shares in them, and paler where they are
# uncertain.  The accuracy needs the true clouds; the fits did not.

COLOURS = np.array([[0.20, 0.13, 0.53], [0.07, 0.60, 0.50], [0.85, 0.45, 0.10]])
PALE = np.array([0.90, 0.90, 0.90])


def blend(probabilities):
    """Cluster colours by share, faded towards grey with the entropy of the row."""
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1, keepdims=True)
    fade = np.clip(entropy / np.log(2), 0, 1)
    return (1 - fade) * (probabilities @ COLOURS) + fade * PALE


figure, axes = plt.subplots(2, len(SHARES), figsize=(10, 5), height_ratios=(4, 1))
figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.12, wspace=0.08, hspace=0.06)
for (above, below), share, fit, assigned in zip(axes.T, SHARES, fits, assignments, strict=True):
    sure = assigned.max(axis=1)
    order = np.argsort(-sure)
    by_place = np.argsort([np.arctan2(*X[fit.labels_ == c].mean(axis=0)) for c in range(3)])
    above.scatter(*X[order].T, c=blend(assigned[:, by_place])[order], s=22, ec="#00000030", lw=0.4)
    above.set_title(f"debias = {share}", loc="left", fontsize=13, weight="bold")
    above.set_title(f"{100 * clustering_accuracy(y, fit.labels_):.1f} % correct", loc="right", fontsize=11)
    above.set_aspect("equal", adjustable="datalim")
    above.axis("off")
    bins = np.linspace(1 / 3, 1, 25)
    below.hist(sure, bins=bins, color="#777777")
    below.set(
        xlim=(0.32, 1.01), ylim=(0, 60), yticks=[], xticks=[1 / 3, 2 / 3, 1], xticklabels=["1/3", "2/3", "1"]
    )
    # The surest would dwarf all others: their bar is cut, and says how many they are.
    below.text(0.965, 45, f"{(sure > bins[-2]).sum()} of {len(sure)}", ha="right", fontsize=10)
    below.spines[["left", "top", "right"]].set_visible(False)
    print(f"debias={share}: mean largest share {sure.mean():.3f}, {fit.n_iter_} iterations")
axes[1, 0].set_xlabel("largest share of a row in a cluster", loc="left")
plt.show()
