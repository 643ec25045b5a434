"""
Classify biopsies from two labels
=================================

Thirty measurements of 569 biopsies, and a diagnosis for two of them: one benign, one malignant.  A classifier that
learns from the two alone is often wrong; one that also uses which biopsies are near each other assigns most of the
others to the right class.  The labels are given by ``y`` alone: here ``"?"`` marks a row without one.
"""

# %%
# The measurements have units of their own, so they are scaled.  All but two labels are hidden.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, ICONEmbedding

data = load_breast_cancer()
X = StandardScaler().fit_transform(data.data)
y = data.target_names[data.target]


def labelled(seed):
    """One row of each class, drawn at random, and y with all others hidden."""
    rng = np.random.RandomState(seed)
    shown = np.array([rng.choice(np.flatnonzero(y == name)) for name in data.target_names])
    given = np.full(len(y), "?", dtype=object)
    given[shown] = y[shown]
    return shown, given


# %%
# A classifier from the two alone, and one from the two and the neighbours.  The result depends on which two are
# labelled: an untypical biopsy misleads both.  So five draws are tried, and the median one is shown.


def answered(seed):
    shown, given = labelled(seed)
    alone = LogisticRegression(max_iter=1000).fit(X[shown], y[shown])
    both = ICONClassifier(unlabeled="?", random_state=0).fit(X, given)
    return {
        "from two labels": (alone.predict(X), alone.predict_proba(X)),
        "from two labels and the neighbours of all rows": (both.transduction_, both.label_distributions_),
    }


draws = [answered(seed) for seed in range(5)]
hidden = [labelled(seed)[1] == "?" for seed in range(5)]
right = [
    {name: np.mean((found == y)[rows]) for name, (found, _) in answers.items()}
    for answers, rows in zip(draws, hidden, strict=True)
]
for share in right:
    print("  ".join(f"{name}: {value:.3f}" for name, value in share.items()))
middle = int(np.argsort([list(share.values())[1] for share in right])[2])

# %%
# The probabilities show where to look next: mistakes are most frequent among the biopsies with the least certain class,
# and a few further labels are best spent there.

found, probabilities = draws[middle]["from two labels and the neighbours of all rows"]
rows = np.flatnonzero(hidden[middle])
by_certainty = rows[probabilities[rows].max(axis=1).argsort()]
for part, name in zip(np.array_split(by_certainty, 3), ("least", "middle", "most"), strict=True):
    print(f"{name} certain third: {np.mean(found[part] == y[part]):.3f} correct")

# %%
# A map of all rows, made without labels.  Colours are the predicted classes, circles the labelled biopsies, and
# crosses the mistakes.

Z = ICONEmbedding(random_state=0).fit(X).embedding_
COLOURS = {"malignant": "#CC6677", "benign": "#44AA99"}

figure, axes = plt.subplots(1, 2, figsize=(14, 7.4))
figure.subplots_adjust(left=0.01, right=0.99, top=0.87, bottom=0.03, wspace=0.02)
for ax, (name, (found, _)) in zip(axes, draws[middle].items(), strict=True):
    wrong = found != y
    for kind, colour in COLOURS.items():
        ax.scatter(*Z[~wrong & (found == kind)].T, c=colour, s=18, linewidths=0, label=kind)
        ax.scatter(*Z[wrong & (found == kind)].T, c=colour, s=40, marker="x", linewidths=1.6)
    for row in labelled(middle)[0]:
        ax.scatter(*Z[row], s=330, facecolors="white", edgecolors=COLOURS[y[row]], linewidths=3, zorder=3)
        ax.text(*Z[row], y[row][0], ha="center", va="center", weight="bold", zorder=4)
    left = ax.get_position().x0 + 0.01
    figure.text(left, 0.935, f"{right[middle][name]:.1%} correct", fontsize=20, weight="bold")
    figure.text(left, 0.895, f"{name}; crosses are mistakes", fontsize=13, color="#555555")
    ax.set_aspect("equal", adjustable="datalim")
    ax.axis("off")
axes[0].legend(loc="lower left", frameon=False, fontsize=12, markerscale=2)
plt.show()
