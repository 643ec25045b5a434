"""Types that users of the estimators see: `make lint` checks the assertions, by mypy, and nothing here is run."""

# mypy: warn-unused-ignores

from typing import assert_type

import numpy as np
import torch
from scipy.sparse import csr_matrix

from iconlearn import (
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    NeighborsTransformer,
    recipes,
    slim,
    to_module,
)
from iconlearn.recipes import Recipe

X, y = np.zeros((9, 2)), np.zeros(9)

embedding = assert_type(ICONEmbedding(2).set_params(max_iter=5).fit(X), ICONEmbedding)
assert_type(embedding.fit_transform(X), np.ndarray)
assert_type(embedding.transform(X), np.ndarray)
assert_type(embedding.inverse_transform(X), np.ndarray)
assert_type(embedding.sample(3), np.ndarray)
assert_type(embedding.score(X), float)
assert_type(embedding.classifier(X, y), ICONClassifier)

clustering = assert_type(ICONClustering(3).fit(X), ICONClustering)
assert_type(clustering.partial_fit(X), ICONClustering)
assert_type(clustering.fit_predict(X), np.ndarray)
assert_type(clustering.fit_transform(X), np.ndarray)
assert_type(clustering.predict(X), np.ndarray)
assert_type(clustering.predict_proba(X), np.ndarray)
assert_type(clustering.labels_at(2), np.ndarray)
assert_type(clustering.score(X), float)

classifier = assert_type(ICONClassifier().fit(X, y), ICONClassifier)
assert_type(classifier.partial_fit(X, y), ICONClassifier)
assert_type(classifier.add_classes(X, y), ICONClassifier)
assert_type(classifier.transform(X), np.ndarray)
assert_type(classifier.predict(X), np.ndarray)
assert_type(classifier.predict_proba(X), np.ndarray)
assert_type(classifier.predict_log_proba(X), np.ndarray)
assert_type(classifier.decision_function(X), np.ndarray)
assert_type(classifier.score(X, y), float)

assert_type(NeighborsTransformer().fit(X).transform(X), csr_matrix)
assert_type(recipes.tsne, Recipe)
assert_type(slim(embedding), ICONEmbedding)
module: torch.nn.Module = to_module(embedding)
ICONClustering(n_cluster=3)  # type: ignore[call-arg]
