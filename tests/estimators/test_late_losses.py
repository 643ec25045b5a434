"""k-means without pairs: its losses are found when they are asked for, and new rows join by means alone."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris

from iconlearn import ICONClustering, Term, storage
from iconlearn.clusters import joined, within
from iconlearn.conditional import BlockConditional
from iconlearn.divergences import ReverseKL
from iconlearn.engines import Closed
from iconlearn.supervisory import Gaussian

X = load_iris().data
START = np.random.default_rng(0).integers(3, size=len(X))


def k_means(**options):
    options = {"p": Gaussian(sigma=1.5, self_pairs=True), "init": START, "random_state": 0} | options
    return ICONClustering(3, divergence=ReverseKL(entropy=0), **options)


def log_normaliser(sigma):
    d = np.square(X[:, None] - X[None]).sum(axis=2)
    return np.log(np.exp(-d / (2 * sigma**2)).sum(axis=1)).mean()


def pairs_seen(model):
    return "normalisers" in vars(model.p_.conditional_.block)


def test_no_pair_is_looked_at_until_a_loss_is_asked_for():
    model = k_means().fit(X)
    model.predict(X[:5] + 0.01)
    assert not pairs_seen(model) and model._solution.constant is not None
    inertia = KMeans(3, init=model_means(model), n_init=1).fit(X).inertia_
    assert model.loss_ == pytest.approx(inertia / 1.5**2 / len(X) + log_normaliser(1.5), rel=1e-12)
    assert pairs_seen(model)
    assert model.loss_history_[-1] == model.loss_ and len(model.loss_history_) == model.n_iter_
    np.testing.assert_array_equal(model.loss_parts_, model.loss_history_[:, None])


def model_means(model):
    return np.array([X[model.labels_ == c].mean(axis=0) for c in range(3)])


def test_two_terms_bring_two_constants():
    model = k_means(terms=[Term(Gaussian(sigma=3.0, self_pairs=True), weight=2.0)]).fit(X)
    inertia = np.square(X - model_means(model)[model.labels_]).sum() / len(X)
    expected = inertia / 1.5**2 + log_normaliser(1.5) + 2 * (inertia / 9 + log_normaliser(3.0))
    assert model.loss_ == pytest.approx(expected, rel=1e-12)


def test_whoever_is_told_of_a_loss_is_told_the_whole(capsys):
    records = []
    model = k_means(callback=records.append, verbose=2).fit(X)
    assert pairs_seen(model)
    quiet = k_means().fit(X)
    np.testing.assert_array_equal([record.loss for record in records], quiet.loss_history_)
    assert [record.best_loss for record in records] == list(np.minimum.accumulate(quiet.loss_history_))
    out = capsys.readouterr().out
    assert all(f"loss {loss:.6g}" in out for loss in (quiet.loss_history_[0], quiet.loss_))


def test_losses_belong_to_the_last_fit():
    model = k_means()
    with pytest.raises(AttributeError, match="once the estimator is fitted"):
        _ = model.loss_
    first = model.fit(X).loss_
    assert model.set_params(p__sigma=3.0).fit(X).loss_ != first
    dense = model.set_params(engine="dense", max_iter=3).fit(X)
    assert dense._solution.constant is None and len(dense.loss_history_) == 3
    again = model.set_params(engine="auto", p__sigma=1.5, max_iter="auto").fit(X)
    assert again.loss_ == first


def test_a_stored_model_still_finds_its_losses(tmp_path):
    model = k_means().fit(X)
    storage.save(model, tmp_path / "k_means")
    for copy in (pickle.loads(pickle.dumps(model)), storage.load(tmp_path / "k_means")):
        assert not pairs_seen(copy)
        assert copy.loss_ == model.loss_
        np.testing.assert_array_equal(copy.loss_history_, model.loss_history_)


def test_rows_that_p_rounds_to_zero_are_no_obstacle():
    """log p is a distance even where p underflows."""
    far = np.vstack([X, X + 500.0])
    model = k_means(p=Gaussian(sigma=1.0, self_pairs=True), init=np.arange(300) // 100).fit(far)
    assert isinstance(model.engine_, Closed) and len(np.unique(model.labels_[150:])) < 3
    assert np.isfinite(model.loss_)


@pytest.mark.parametrize("entropy", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_means_place_new_rows_as_all_pairs_do(entropy, weighted):
    rng = np.random.default_rng(1)
    r = rng.dirichlet(np.ones(4), size=len(X))
    weights = rng.uniform(0.5, 2.0, len(X)) if weighted else None
    p = Gaussian(sigma=0.7, self_pairs=True).fit(X)
    new = p.extend(X[::7] + rng.normal(size=(22, 4)))
    known = p.conditional_

    by_means = within(replace(known, column_weights=weights), r)
    by_pairs = within(replace(without_form(known), column_weights=weights), r)
    np.testing.assert_allclose(by_means, by_pairs, rtol=1e-12)
    np.testing.assert_allclose(
        joined(new, r, by_means, entropy, weights),
        joined(without_form(new), r, by_pairs, entropy, weights),
        atol=1e-10,
    )


def without_form(p):
    """The same rows behind a block that only knows their logarithms."""
    return BlockConditional(JustLogs(p.block), p.shape)


class JustLogs:
    def __init__(self, block):
        self.log = block.log
