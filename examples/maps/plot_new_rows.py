"""
Put new rows into an old map
============================

``transform`` places each new row beside the rows that it resembles; the others stay where they are, and new rows do not
affect each other.  With ``warm_start`` a map is fitted again to all rows from where it was, so that groups keep their
places.
"""

# %%
# A map of two thirds of the digits; the last third is new.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from iconlearn import ICONEmbedding

X, y = load_digits(return_X_y=True)
X_old, X_new, y_old, y_new = train_test_split(X, y, test_size=1 / 3, random_state=0, stratify=y)

embedding = ICONEmbedding(warm_start=True, random_state=0)
Z_old = embedding.fit_transform(X_old)
Z_new = embedding.transform(X_new)
votes = KNeighborsClassifier(10).fit(Z_old, y_old)
print(f"accuracy of ten neighbours in the map on new rows: {votes.score(Z_new, y_new):.1%}")

# %%
# The same estimator, fitted to all rows: known rows start at their places, new ones where ``transform`` places them.

Z_all = embedding.fit_transform(np.vstack([X_old, X_new]))
moved = np.linalg.norm(Z_all[: len(X_old)] - Z_old, axis=1)
print(f"old rows moved by {np.median(moved) / np.ptp(Z_old, axis=0).max():.1%} of the map's width (median)")

# %%
# A map from a random start, for comparison: as good, and with the groups in other places.

Z_fresh = ICONEmbedding(init="random", random_state=1).fit_transform(np.vstack([X_old, X_new]))

COLOURS = np.array(
    [
        "#332288", "#88CCEE", "#44AA99", "#117733", "#999933",
        "#DDCC77", "#CC6677", "#882255", "#AA4499", "#888888",
    ]
)  # fmt: skip
y_all = np.r_[y_old, y_new]
new = np.r_[np.zeros(len(y_old), dtype=bool), np.ones(len(y_new), dtype=bool)]
pictures = {
    f"the first {len(y_old)} rows": (Z_old, y_old, np.zeros(len(y_old), dtype=bool), y_old >= 0),
    f"{len(y_new)} new ones placed": (np.vstack([Z_old, Z_new]), y_all, ~new, new),
    "refitted to all, warm start": (Z_all, y_all, np.zeros(len(y_all), dtype=bool), y_all >= 0),
    "refitted to all, random start": (Z_fresh, y_all, np.zeros(len(y_all), dtype=bool), y_all >= 0),
}
figure, axes = plt.subplots(2, 2, figsize=(10, 8.6), layout="constrained")
for ax, (title, (Z, digits, grey, bright)) in zip(axes.flat, pictures.items(), strict=True):
    ax.scatter(*Z[grey].T, c="#dddddd", s=5, linewidths=0)
    ax.scatter(*Z[bright].T, c=COLOURS[digits[bright]], s=6, linewidths=0)
    for digit in range(10):
        ax.annotate(
            str(digit), np.median(Z[digits == digit], axis=0), ha="center", va="center", fontsize=11, weight="bold",
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": COLOURS[digit], "alpha": 0.85},
        )  # fmt: skip
    ax.set_title(title, loc="left", fontsize=12)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_color("#cccccc")
plt.show()
