"""
Write a p of your own, and a q
==============================

A ``p`` is any object with a ``fit`` that leaves a ``conditional_``: which other rows should be near each row, and with
which weights.  Here is one for recordings, where rows that were taken shortly after each other belong together, however
similar other rows are.
"""

# %%
# The data: a point moves once around a lemniscate and is measured by 20 noisy channels.  Halfway through it crosses
# its own path, and there no measurement distinguishes the two passes.

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import sparse

from iconlearn import ICONEmbedding
from iconlearn.conditional import Conditional, normalize_rows
from iconlearn.supervisory import Supervisory

rng = np.random.default_rng(0)
t = np.linspace(0, 2 * np.pi, 500, endpoint=False)
path = np.column_stack([np.sin(t), np.sin(t) * np.cos(t)])
X = path @ rng.standard_normal((2, 20)) + 0.1 * rng.standard_normal((len(t), 20))

# %%
# The p: equal weights on the rows at most ``width`` steps away.  ``self_pairs=False`` says that a row is no neighbour
# of itself.


class TimeWindow(Supervisory):
    """p(j|i) uniform over the rows within `width` steps of row i."""

    def __init__(self, width=10):
        self.width = width

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        steps = [k for k in range(-self.width, self.width + 1) if k != 0]
        near = sparse.diags_array([1.0] * len(steps), offsets=steps, shape=(len(X), len(X)))
        self.conditional_ = Conditional(normalize_rows(near), self_pairs=False)
        return self


# %%
# It is passed as ``p=``, and combines with the others: ``Walk(TimeWindow(5), length=2)``, ``p__width=20`` in a grid
# search.
#
# A q needs even less: a function from squared distances to log similarities.  This one falls like a Laplace
# density, exp(-distance).


def laplace(sqdist):
    return -torch.sqrt(sqdist + 1e-6)


fits = {
    "p='knn'": ICONEmbedding(p="knn", random_state=0),
    "p=TimeWindow(10)": ICONEmbedding(p=TimeWindow(10), random_state=0),
    "p=TimeWindow(10), q=laplace": ICONEmbedding(p=TimeWindow(10), q=laplace, random_state=0),
}
for name, fit in fits.items():
    fit.fit(X)
    print(f"{name:<28} loss {fit.loss_:.3f} after {fit.n_iter_} iterations")

# %%
# Neighbours in space leave a crossing; neighbours in time open it.

figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
pictures = {"the path, unseen": path, **{name: fit.embedding_ for name, fit in fits.items()}}
for ax, (name, Z) in zip(axes.flat, pictures.items(), strict=True):
    ax.plot(*Z.T, color="#cccccc", linewidth=0.6, zorder=0)
    ax.scatter(*Z.T, c=t, cmap="viridis", s=14, linewidths=0)
    ax.set_title(name, loc="left", fontsize=12)
    ax.set_aspect("equal", adjustable="datalim")
    ax.axis("off")
plt.show()
