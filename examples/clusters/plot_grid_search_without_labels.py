"""
Choose the number of clusters without labels
============================================

How many clusters, and how large a uniform share?  :mod:`iconlearn.scorers` has three scores that need no labels and
can be passed to :class:`~sklearn.model_selection.GridSearchCV`.  Each measures something else: the held-out loss
rewards clusters that follow the neighbours, however many there are; stability compares the clusters of different rows
and seeds; and the accuracy of a linear classifier shows whether the clusters have a simple description.
"""

# %%
# The digits, and a search over the number of clusters and the debias weight.  Candidates begin at five clusters: two
# are easily stable and easily described, whatever the data.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from iconlearn import ICONClustering
from iconlearn.displays import MergePathDisplay
from iconlearn.metrics import clustering_accuracy
from iconlearn.scorers import LinearPredictability, Stability, held_out_loss

X, y = load_digits(return_X_y=True)
X, y = X[:500] / 16, y[:500]
NUMBERS, SHARES = (5, 8, 10, 12, 24), (0.0, 0.9)
SCORES = {
    "held-out loss": held_out_loss,
    "stability": Stability(2),
    "linear kappa": LinearPredictability(),
    "accuracy (needs labels)": lambda model, X, y: clustering_accuracy(y, model.predict(X)),
}

search = GridSearchCV(
    ICONClustering(n_init=1, random_state=0),
    {"n_clusters": NUMBERS, "debias": SHARES},
    scoring=SCORES,
    refit=False,
    cv=ShuffleSplit(1, test_size=0.5, random_state=0),
)
with warnings.catch_warnings():
    # Twenty-four clusters are sometimes more than half of the rows have room for.
    warnings.simplefilter("ignore")
    search.fit(X, y)

# %%
# One panel for each score and one line for each share.  The last panel has what ``n_clusters="auto"`` decides by: the
# score of merging micro-clusters, beside the stability of the merges; nothing is refitted for it.

COLOURS = ("#332288", "#EE7733")
figure = plt.figure(figsize=(12, 8), layout="constrained")
above, below = figure.subfigures(2, 1)
axes = [*above.subplots(1, 3), *below.subplots(1, 2, width_ratios=(1, 2))]
for ax, name in zip(axes, SCORES, strict=False):
    table = search.cv_results_[f"mean_test_{name}"].reshape(len(SHARES), len(NUMBERS))
    for values, share, colour in zip(table, SHARES, COLOURS, strict=True):
        ax.plot(NUMBERS, values, color=colour, marker="o", ms=4, label=f"debias {share:g}")
        best = int(values.argmax())
        ax.plot(NUMBERS[best], values[best], "o", ms=12, mfc="none", color=colour)
    row, column = np.unravel_index(table.argmax(), table.shape)
    ax.set_title(f"{name}: {NUMBERS[column]} clusters", loc="left", fontsize=12)
    ax.set(xscale="log", xlabel="number of clusters")
    ax.set_xticks([5, 10, 24], ["5", "10", "24"])
    ax.minorticks_off()
    ax.axvline(10, color="#BBBBBB", lw=6, alpha=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    print(f"{name}: {NUMBERS[column]} clusters, debias {SHARES[row]:g}, {table.max():.3f}")
axes[0].legend(frameon=False)

auto = ICONClustering("auto", random_state=0).fit(X)
MergePathDisplay.from_estimator(auto, ax=axes[4], columns=("score", "stability"))
axes[4].set_title("merge_path_", loc="left", fontsize=12, pad=16)
print(f"n_clusters='auto' took {auto.n_clusters_}")
plt.show()
