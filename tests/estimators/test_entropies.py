"""The two parts of a KL loss: H(p, q) = loss + H(p)."""

import pickle

import numpy as np
import pytest
from scipy.special import entr, xlogy
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, load, recipes, save
from iconlearn.learned import Student
from iconlearn.metrics import cross_entropy
from iconlearn.supervisory import KNN, Gaussian, Graph

X, y = load_iris(return_X_y=True)


def surprise(P, Z):
    """- sum p log q over the rows, q by Student's kernel."""
    k = 1 / (1 + ((Z[:, None] - Z) ** 2).sum(axis=2)) * ~np.eye(len(Z), dtype=bool)
    return -xlogy(P, np.where(P > 0, k / k.sum(axis=1, keepdims=True), 1)).sum() / len(Z)


def test_those_of_a_map():
    model = ICONEmbedding(p=Gaussian(10), max_iter=50, random_state=0).fit(X)
    P = model.p_.conditional_.full()
    assert model.entropy_ == pytest.approx(entr(P).sum() / 150, rel=1e-12)
    assert model.cross_entropy_ == pytest.approx(surprise(P, model.embedding_.astype(float)), rel=1e-5)
    assert model.cross_entropy_ - model.entropy_ == pytest.approx(model.loss_, rel=1e-12)


def test_terms_add_up_with_their_weights():
    terms = [Term(Gaussian(10), weight=0.5)]
    model = ICONEmbedding(p=KNN(5), q=Student(), terms=terms, max_iter=20, random_state=0).fit(X)
    parts = KNN(5).fit(X).conditional_.full(), Gaussian(10).fit(X).conditional_.full()
    assert model.entropy_ == pytest.approx(
        sum(w * entr(P).sum() / 150 for w, P in zip((1, 0.5), parts, strict=True))
    )
    Z = model.embedding_.astype(float)
    assert model.cross_entropy_ == pytest.approx(
        surprise(parts[0], Z) + 0.5 * surprise(parts[1], Z), rel=1e-5
    )


@pytest.mark.parametrize("C", [None, 1.0])
def test_that_of_a_classifier_is_the_log_loss_without_the_penalty(C):
    model = ICONClassifier(C=C, max_iter=60, random_state=0).fit(X, y)
    assert model.entropy_ == 0
    assert model.cross_entropy_ == pytest.approx(log_loss(y, model.predict_proba(X)), rel=1e-5)
    if C is not None:
        assert model.cross_entropy_ < model.loss_ - 0.01
        theirs = LogisticRegression(C=C, max_iter=1000).fit(X, y)
        assert model.cross_entropy_ == pytest.approx(log_loss(y, theirs.predict_proba(X)), rel=1e-2)


def test_weights_of_rows_and_a_uniform_share_are_in_it():
    A = np.random.default_rng(0).integers(0, 4, (40, 40))
    A = (A + A.T) * ~np.eye(40, dtype=bool)
    model = ICONClustering(3, p=Graph(mass="degree"), debias=0.2, random_state=0).fit(A)
    P = 0.8 * A / A.sum(axis=1, keepdims=True) + 0.2 / 40
    assert model.entropy_ == pytest.approx(A.sum(axis=1) / A.sum() @ entr(P).sum(axis=1), rel=1e-9)
    assert model.cross_entropy_ == pytest.approx(model.loss_ + model.entropy_)


def test_nothing_is_summed_until_it_is_asked_for():
    model = recipes.k_means(n_clusters=3, random_state=0).fit(X)
    assert "normalisers" not in vars(model.p_.conditional_.block)
    assert model.entropy_ > 0
    with pytest.raises(
        AttributeError, match="cross_entropy_ is loss_ \\+ entropy_ where the divergence is KL"
    ):
        _ = model.cross_entropy_


def test_before_a_fit_there_are_none():
    with pytest.raises(AttributeError, match="once the estimator is fitted"):
        _ = ICONEmbedding().entropy_
    assert not hasattr(ICONClassifier(), "cross_entropy_")


def test_copies_and_files_have_them(tmp_path):
    model = ICONEmbedding(p=KNN(5), max_iter=20, random_state=0).fit(X)
    save(model, tmp_path / "map")
    for copy in (pickle.loads(pickle.dumps(model)), load(tmp_path / "map")):
        assert (copy.entropy_, copy.cross_entropy_) == (model.entropy_, model.cross_entropy_)
    assert model.entropy_ == pytest.approx(np.log(5))


def test_it_is_the_cross_entropy_of_arrays():
    model = ICONEmbedding(p=Gaussian(10), q="gaussian", max_iter=30, random_state=0).fit(X)
    Z = model.embedding_.astype(float)
    k = np.exp(-0.5 * ((Z[:, None] - Z) ** 2).sum(axis=2) / model.q_.sigma**2) * ~np.eye(150, dtype=bool)
    q = k / k.sum(axis=1, keepdims=True)
    assert cross_entropy(model.p_.conditional_.full(), q).mean() == pytest.approx(
        model.cross_entropy_, rel=1e-5
    )
