"""How sure a clustering is: rows between clusters can be marked, and probabilities rank what is right."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import train_test_split

from iconlearn import ICONClustering
from iconlearn.clusters import mutual_shares, pairs_of
from iconlearn.conditional import Conditional
from iconlearn.supervisory import KNN, Gaussian

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
    model = ICONClustering(10, mapper=mapper, n_init=4, random_state=1).fit(X / 16)
    probabilities = model.predict_proba(X_new / 16)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    hits = right(y_new, probabilities.argmax(axis=1))[order]
    sure, middle, least = (part.mean() for part in np.array_split(hits, 3))
    assert sure >= middle > least
    assert sure > 0.95 and least < sure - 0.05


def by_hand(p, r):
    """The shares that doc/guide_clustering.md gives, as loops over dense matrices, and which rows are in dispute."""
    p, (n, k) = p.toarray(), r.shape
    shares = np.empty((n, k))
    for i in range(n):
        mutual, either = np.minimum(p[i], p[:, i]), p[i] + p[:, i]
        h = either @ r / either.sum()
        shares[i] = (mutual @ r + 0.1 * h + 0.005 / k) / (mutual.sum() + 0.105)
    own, top = r.argmax(axis=1), shares.argmax(axis=1)
    for i in np.flatnonzero(own != top):
        shares[i, [own[i], top[i]]] = shares[i, [own[i], top[i]]].mean()
    return shares, own != top


@pytest.mark.parametrize("p", ["auto", Gaussian(8)])
def test_probabilities_are_what_mutual_neighbours_say(p):
    data = np.random.default_rng(3).normal(size=(150, 3))
    model = ICONClustering(4, p=p, n_init=2, random_state=0)
    r = model.fit_transform(data)
    expected, disputed = by_hand(model.p_.conditional_.sparse(), r)
    assert disputed.any() == (p == "auto")  # or nothing would be said of such rows
    np.testing.assert_allclose(model.probabilities_, expected, atol=2e-6)
    np.testing.assert_array_equal(model.probabilities_.argmax(axis=1), model.labels_)
    np.testing.assert_allclose(model.predict_proba(data).sum(axis=1), 1.0)
    np.testing.assert_array_equal(model.transform(data), r)
    again = pickle.loads(pickle.dumps(model))
    assert vars(again)["_kept_shares"] == {}  # they are found again where they are asked for
    np.testing.assert_array_equal(again.probabilities_, model.probabilities_)
    # A row beside a training row is as sure as it: the same rule, and that row is one of its neighbours besides.
    near = model.predict_proba(data + 1e-9)
    assert np.abs(near - model.probabilities_).mean() < 0.03
    np.testing.assert_array_equal(near.argmax(axis=1), model.predict(data + 1e-9))
    np.testing.assert_allclose(model.predict_proba(data[7:8] + 1e-9), near[7:8])


def test_copies_of_rows_count_among_mutual_neighbours():
    """For a given graph the probabilities are those of the graph that has every row so often."""
    rng = np.random.default_rng(0)
    number, data = rng.integers(1, 4, size=40), rng.normal(size=(40, 2))
    p = KNN(6).fit(data).conditional_
    of = np.repeat(np.arange(40), number)
    one = p.sparse().toarray()
    many = one[of][:, of]
    r = rng.dirichlet(np.ones(3), size=40)
    pairs = pairs_of(p.of_copies(number.astype(float)))
    repeated = pairs_of(Conditional(csr_array(many / many.sum(axis=1, keepdims=True))))
    np.testing.assert_allclose(mutual_shares(*pairs, r, r)[of], mutual_shares(*repeated, r[of], r[of]))


def test_mistakes_are_where_the_doubt_is_on_digits():
    """More than by the assignments as such, and the shares are nearer to how often they are right."""
    digits = load_digits()
    model = ICONClustering(10, n_init=2, random_state=0)
    r = model.fit_transform(digits.data / 16)
    wrong = ~right(digits.target, model.labels_)
    assert wrong.sum() > 50

    def area(sure):
        """How often a mistake is less sure than another row."""
        return roc_auc_score(wrong, -sure)

    def gap(sure):
        """Mean distance of confidence and accuracy over fifteen groups of rows of like confidence."""
        groups = np.array_split(np.argsort(sure), 15)
        return np.mean([abs(sure[rows].mean() - (~wrong[rows]).mean()) for rows in groups])

    before, after = r.max(axis=1), model.probabilities_.max(axis=1)
    assert area(after) > area(before) + 0.05
    assert gap(after) < gap(before)
