"""How sure a clustering is: rows between clusters can be marked, and probabilities rank what is right."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

from iconlearn import ICONClustering

# Two clouds, and one row half way between them.
LEFT = np.random.default_rng(0).normal(size=(40, 2))
X = np.vstack([LEFT, [9.0, 0.0] - LEFT, [[4.5, 0.0]]])


@pytest.mark.parametrize("mapper", ["table", "linear"])
def test_doubtful_rows_are_marked(mapper):
    bold = ICONClustering(2, mapper=mapper, random_state=0, n_init=2).fit(X)
    shy = ICONClustering(2, mapper=mapper, random_state=0, n_init=2, min_confidence=0.9).fit(X)
    np.testing.assert_array_equal(shy.probabilities_, bold.probabilities_)
    doubtful = bold.probabilities_.max(axis=1) < 0.9
    assert doubtful[-1] and doubtful.sum() < 15
    np.testing.assert_array_equal(shy.labels_, np.where(doubtful, -1, bold.labels_))
    assert shy.n_clusters_ == 2 and bold.labels_.min() == 0
    np.testing.assert_array_equal(shy.predict(X), shy.labels_)
    assert shy.predict(X[-1:] + 0.01)[0] == -1 and shy.predict([[-1.0, 0.1]])[0] >= 0


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_it_is_a_probability(value):
    with pytest.raises(ValueError, match="min_confidence"):
        ICONClustering(2, min_confidence=value).fit(X)


def right(y, labels):
    """Which rows have the class that most of their cluster have."""
    table = confusion_matrix(y, labels)[:, : labels.max() + 1]
    return table.argmax(axis=0)[labels] == y


@pytest.mark.parametrize("mapper", ["table", "linear"])
def test_accuracy_rises_with_confidence_on_digits(mapper):
    """Of new rows: the surest third, the middle and the least sure."""
    digits = load_digits(return_X_y=True)
    X, X_new, _, y_new = train_test_split(*digits, test_size=0.5, random_state=0, stratify=digits[1])
    model = ICONClustering(10, mapper=mapper, n_init=4, random_state=0).fit(X / 16)
    probabilities = model.predict_proba(X_new / 16)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    hits = right(y_new, probabilities.argmax(axis=1))[order]
    sure, middle, least = (part.mean() for part in np.array_split(hits, 3))
    assert sure >= middle > least
    assert sure > 0.95 and least < sure - 0.05
