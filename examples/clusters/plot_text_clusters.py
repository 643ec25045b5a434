"""
Cluster texts and name the clusters
===================================

Texts become rows of word weights, the leading directions of these weights are kept, neighbours are found in them and
clustered, and each cluster is named by its most characteristic words.  The corpus is on every machine that runs this:
the documentation strings of scipy's functions.  The subpackage that a function comes from is not given.
"""

# %%
# A text for every public function or class of nine subpackages.

import importlib
import inspect

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.metrics import homogeneity_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.displays import EmbeddingDisplay

ROOMS = [
    "cluster.hierarchy",
    "fft",
    "interpolate",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "special",
    "stats",
]
N_THEMES = 18
# Headings and idioms that every one of these texts has.
IDIOMS = [
    "array", "arrays", "array_like", "axis", "bool", "default", "dtype", "examples", "float", "function", "given",
    "import", "input", "int", "ndarray", "none", "notes", "np", "numpy", "optional", "output", "parameters",
    "references", "return", "returned", "returns", "scipy", "shape", "true", "false", "use", "used", "value",
    "values", "versionadded", "print", "plt", "rng", "also", "see", "method", "methods", "number",
]  # fmt: skip

texts, rooms = [], []
for room in ROOMS:
    module = importlib.import_module(f"scipy.{room}")
    for name in module.__all__:
        text = inspect.getdoc(getattr(module, name))
        if text is not None and len(text) > 400:
            texts.append(text.partition("References\n---")[0].partition("Examples\n---")[0])
            rooms.append(room)
rooms = np.array(rooms)
print(f"{len(texts)} texts from {len(ROOMS)} subpackages")

# %%
# Word weights are sparse and wide; neighbours are found in their leading directions, scaled to length one.  There are
# more clusters than subpackages, since some subpackages have several themes.

words = TfidfVectorizer(
    stop_words=list(ENGLISH_STOP_WORDS.union(IDIOMS)), min_df=4, max_df=0.3, sublinear_tf=True,
    token_pattern=r"(?u)\b[a-z][a-z]{2,}\b",
)  # fmt: skip
features = make_pipeline(words, TruncatedSVD(100, random_state=0), Normalizer())
X = features.fit_transform(texts)

clustering = ICONClustering(n_clusters=N_THEMES, random_state=0).fit(X)
Z = ICONEmbedding(random_state=0).fit_transform(X)
labels = clustering.labels_
print(
    f"homogeneity {homogeneity_score(rooms, labels):.3f}: what a theme says about the subpackage, of all there is"
)

# %%
# The names: words whose mean weight inside a cluster is furthest above their mean weight outside.

W, vocabulary = words.transform(texts), words.get_feature_names_out()


def own_words(cluster, n_words=2):
    inside = labels == cluster
    above = W[inside].mean(axis=0) - W[~inside].mean(axis=0)
    return [vocabulary[k] for k in np.asarray(above).ravel().argsort()[::-1][:n_words]]


names = [own_words(c) for c in range(clustering.n_clusters_)]
for c, name in enumerate(names):
    found, counts = np.unique(rooms[labels == c], return_counts=True)
    mostly = found[counts.argmax()]
    print(f"{counts.sum():4d} texts, {counts.max() / counts.sum():4.0%} from {mostly:<18} {', '.join(name)}")

# %%
# The map, with each name in the middle of its cluster.  Rows with uncertain clusters are pale.

sure = clustering.probabilities_.max(axis=1)
titles = np.array(["\n".join(name) for name in names])
figure, ax = plt.subplots(figsize=(9.5, 8))
figure.subplots_adjust(left=0.02, right=0.98, top=0.95, bottom=0.02)
EmbeddingDisplay.from_predictions(
    Z, titles[labels], ax=ax, labels="medians", size=14, alpha=np.clip(sure, 0.2, 1.0)
)
ax.set_title(f"{len(texts)} documentation strings of scipy, in {clustering.n_clusters_} themes", loc="left")
plt.show()
