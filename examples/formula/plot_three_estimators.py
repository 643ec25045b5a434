"""
Map, cluster and classify by one formula
========================================

Every fit here minimises the mean divergence of ``q``, which rows the model places near each other, from ``p``, which
rows should be.  The three estimators differ in these two:

====================  ==========================================  ====================================
estimator             p                                           q
====================  ==========================================  ====================================
``ICONEmbedding``     the nearest neighbours of a row             a Student kernel between places
``ICONClustering``    the nearest neighbours of a row             sharing a cluster
``ICONClassifier``    the class of a row                          softmax of the logits
====================  ==========================================  ====================================

The rows are a table: thirteen chemical measurements of 178 wines from three cultivars.
"""

# %%
# Measurements have units of their own, and proline, in milligrams per litre, has numbers a thousand times those of the
# hue.  Unscaled, it alone decides which rows are near; so a table is scaled first.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.metrics import clustering_accuracy

wine = load_wine()
y = wine.target
X = StandardScaler().fit_transform(wine.data)
for name, rows in {"as measured": wine.data, "scaled": X}.items():
    labels = ICONClustering(3, random_state=0).fit_predict(rows)
    print(f"rows in the right one of three clusters, {name}: {clustering_accuracy(y, labels):.3f}")

# %%
# A map of two dimensions and clusters, both without labels.  ``"auto"`` would estimate the number of clusters.

embedding = ICONEmbedding(random_state=0).fit(X)
Z = embedding.embedding_
print(f"mean divergence of p from q: {embedding.loss_:.3f} nats")

clustering = ICONClustering(3, random_state=0).fit(X)
print(f"estimated number of clusters: {ICONClustering('auto', random_state=0).fit(X).n_clusters_}")

# %%
# Classes, with labels.  The defaults are multinomial logistic regression; in a pipeline each fold is scaled by itself.

pipeline = make_pipeline(StandardScaler(), ICONClassifier(C=0.1))
print(f"accuracy on five held-out folds: {cross_val_score(pipeline, wine.data, y, cv=5).mean():.3f}")
classifier = pipeline.fit(wine.data, y)[-1]

# %%
# The map, coloured by cultivar; the same map coloured by cluster, paler where the cluster is uncertain; and the weights
# of the classifier for every measurement.

COLOURS = np.array(["#332288", "#44AA99", "#CC6677"])

figure, axes = plt.subplots(1, 3, figsize=(14, 5.2), width_ratios=(4, 4, 3.2))
figure.subplots_adjust(left=0.01, right=0.99, top=0.85, bottom=0.06, wspace=0.06)
axes[0].scatter(*Z.T, c=COLOURS[y], s=26, linewidths=0)

# For the picture alone, a cluster gets the colour of its most frequent cultivar.
cultivar = np.array([np.bincount(y[clustering.labels_ == c]).argmax() for c in range(clustering.n_clusters_)])
sure = clustering.probabilities_.max(axis=1)
axes[1].scatter(
    *Z.T, c=COLOURS[cultivar[clustering.labels_]], s=26, linewidths=0, alpha=np.clip(2 * sure - 1, 0.1, 1)
)

names = [
    name.replace("od280/od315_of_diluted_wines", "od280/od315").replace("_", " ")
    for name in wine.feature_names
]
order = classifier.coef_[0].argsort()
rows = np.arange(len(order))
axes[2].set_position([0.8, 0.09, 0.19, 0.74])
for k in range(3):
    axes[2].barh(rows + 0.28 * (1 - k), classifier.coef_[k][order], height=0.26, color=COLOURS[k])
axes[2].axvline(0, color="#888888", linewidth=0.8)
axes[2].set_yticks(rows, [names[k] for k in order], fontsize=9)
axes[2].tick_params(left=False)
axes[2].spines[["top", "right", "left"]].set_visible(False)

notes = {
    "ICONEmbedding": "coloured by cultivar",
    "ICONClustering": "coloured by cluster; pale where unsure",
    "ICONClassifier": "weights of the measurements",
}
for ax, (name, note) in zip(axes, notes.items(), strict=True):
    left = ax.get_position().x0 - (0.1 if ax is axes[2] else 0)
    figure.text(left, 0.94, name, fontsize=14, weight="bold")
    figure.text(left, 0.895, note, fontsize=11, color="#555555")
for ax in axes[:2]:
    ax.set_aspect("equal", adjustable="datalim")
    ax.axis("off")
plt.show()
