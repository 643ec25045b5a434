"""
Separate the groups of a map: heavier tails of q
================================================

The tails of ``q`` decide how far apart a map may put dissimilar rows.  ``Student(dof)`` has tails heavier than
t-SNE's for ``dof < 1``, t-SNE's for ``dof = 1``, and approaches SNE's Gaussian with many degrees of freedom:

.. math::

    q(j|i) \\propto \\left(1 + |z_i - z_j|^2 / \\nu\\right)^{-(\\nu + 1) / 2}
    \\;\\xrightarrow{\\nu \\to \\infty}\\; \\exp\\left(-|z_i - z_j|^2 / 2\\right).
"""

# %%
# Three hundred digits.  Every map has the same ``p``, the same start and the same number of steps.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding, learned
from iconlearn.metrics import neighbor_recall

X, y = load_digits(return_X_y=True)
X, y = X[:300], y[:300]
kernels = {
    "dof = 0.5": learned.Student(dof=0.5),
    "dof = 1 (t-SNE)": learned.Student(dof=1),
    "dof = 3": learned.Student(dof=3),
    "Gaussian (SNE)": learned.Gaussian(),
}
fits = {name: ICONEmbedding(q=q, random_state=0).fit(X) for name, q in kernels.items()}

# %%
# Heavy tails contract the groups to islands; with a Gaussian they touch.

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

figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
look = {"ha": "center", "va": "center", "fontsize": 10, "weight": "bold"}
for ax, (name, fit) in zip(axes.flat, fits.items(), strict=True):
    recall = neighbor_recall(X, fit.embedding_, 15)
    print(f"{name:<16} loss {fit.loss_:.3f}, neighbours kept {recall:.3f}")
    ax.scatter(*fit.embedding_.T, c=COLOURS[y], s=13, linewidths=0)
    for digit in range(10):
        text = ax.text(*np.median(fit.embedding_[y == digit], axis=0), str(digit), **look)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    ax.set_title(f"{name}\n{100 * recall:.0f} % of neighbours kept", loc="left", fontsize=12)
    ax.set_aspect("equal", adjustable="datalim")
    ax.axis("off")
plt.show()
