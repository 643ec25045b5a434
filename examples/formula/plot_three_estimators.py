"""
Map, cluster and classify by one formula
========================================

Every fit here minimises the mean divergence of ``q``, which rows the model places near each other, from ``p``, which
rows should be.  The three estimators differ in these two:

====================  ==========================================  ====================================
estimator             p                                           q
====================  ==========================================  ====================================
``ICONEmbedding``     the 15 nearest neighbours of a row          a Student kernel between places
``ICONClustering``    the 15 nearest neighbours of a row          sharing a cluster
``ICONClassifier``    the class of a row                          softmax of the logits
====================  ==========================================  ====================================
"""

# %%
# A small part of the handwritten digits: six classes.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.metrics import clustering_accuracy

X, y = load_digits(n_class=6, return_X_y=True)
X, X_new, y, y_new = train_test_split(X / 16, y, train_size=600, stratify=y, random_state=0)

# %%
# A map of two dimensions, without labels.

embedding = ICONEmbedding(random_state=0).fit(X)
Z = embedding.embedding_
Z_new = embedding.transform(X_new[:100])
print(f"mean divergence of p from q: {embedding.loss_:.3f} nats")

# %%
# Six clusters, again without labels.

clustering = ICONClustering(6, random_state=0).fit(X)
print(f"rows in the right cluster: {clustering_accuracy(y, clustering.labels_):.3f}")
print(f"new rows in the right cluster: {clustering_accuracy(y_new, clustering.predict(X_new)):.3f}")

# %%
# Classes, with labels.  The defaults are multinomial logistic regression.

classifier = ICONClassifier(random_state=0).fit(X, y)
print(f"new rows in the right class: {classifier.score(X_new, y_new):.3f}")

# %%
# The map, with a hundred new rows (black rims); the same map coloured by cluster, paler where the cluster is
# uncertain; and the weights of the classifier for every pixel.

COLOURS = np.array(["#332288", "#88CCEE", "#44AA99", "#999933", "#CC6677", "#AA4499"])

figure, axes = plt.subplots(1, 3, figsize=(14, 5.2), width_ratios=(5, 5, 3.4))
figure.subplots_adjust(left=0.02, right=0.98, top=0.85, bottom=0.02, wspace=0.06)
axes[0].scatter(*Z.T, c=COLOURS[y], s=16, linewidths=0)
axes[0].scatter(*Z_new.T, c=COLOURS[y_new[:100]], s=30, edgecolors="black", linewidths=0.8)

# Only for the eye: a cluster gets the colour of its most frequent digit.
digit = np.array([np.bincount(y[clustering.labels_ == c]).argmax() for c in range(clustering.n_clusters_)])
sure = clustering.probabilities_.max(axis=1)
opacity = np.clip(2 * sure - 1, 0.1, 1)
axes[1].scatter(*Z.T, c=COLOURS[digit[clustering.labels_]], s=16, linewidths=0, alpha=opacity)

pixels = [[np.pad(w.reshape(8, 8), 1) for w in two] for two in classifier.coef_.reshape(3, 2, 64)]
most = np.abs(classifier.coef_).max()
axes[2].imshow(np.block(pixels), cmap="PuOr", vmin=-most, vmax=most)
for k in range(6):
    axes[2].text(
        10 * (k % 2) + 0.8, 10 * (k // 2) + 1.4, str(k), fontsize=12, weight="bold", color=COLOURS[k]
    )

names = ("ICONEmbedding", "ICONClustering", "ICONClassifier")
notes = (
    "coloured by digit; new rows with rims",
    "coloured by cluster; pale where unsure",
    "pixels for and against",
)
for ax, name, note in zip(axes, names, notes, strict=True):
    left = ax.get_position().x0
    figure.text(left, 0.94, name, fontsize=14, weight="bold")
    figure.text(left, 0.895, note, fontsize=11, color="#555555")
    ax.axis("off")
for ax in axes[:2]:
    ax.set_aspect("equal", adjustable="datalim")
plt.show()
