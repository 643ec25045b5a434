"""The power of the clusters' sizes in q: its loss, the descent, merges, new rows and what it is for."""

import numpy as np
import pytest
from reference import evaluate, make_problem, places, random_rows, softmax, sparse_p
from scipy.optimize import brentq, minimize
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from iconlearn import ICONClustering
from iconlearn.clusters import agglomerate, assign
from iconlearn.clusters._weights import _project
from iconlearn.engines import Partition
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy
from iconlearn.numerics.compiled import onto_simplex
from iconlearn.objective import Objective
from iconlearn.supervisory import KNN

N, M = 40, 4
P = random_rows(N, density=0.15, seed=1)
LOGITS = places(N, M, seed=3)


def kernel(r, t, balance):
    return r @ (t * (t.sum(axis=0) / len(t)) ** (1 - balance) / t.sum(axis=0)).T


def divergence(r, balance, debias):
    q = (1 - debias) * kernel(r, r, balance) + debias / N
    on = P > 0
    return (P[on] * np.log(P[on] / q[on])).sum() / N


def solve(problem, max_iter):
    return Partition().solve(Objective((problem,)), max_iter=max_iter, tol=0.0, rng=np.random.RandomState(0))


@pytest.mark.parametrize("debias", [0.0, 0.3])
@pytest.mark.parametrize("balance", [0.0, 0.4, 1.0])
def test_both_engines_have_the_loss_of_the_formula(balance, debias):
    problem = make_problem(sparse_p(P), Cluster(balance=balance, debias=debias), LOGITS)
    expected = divergence(softmax(LOGITS), balance, debias)
    assert evaluate(problem)[0] == pytest.approx(expected, abs=1e-9)
    assert solve(problem, 1).loss == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("debias", [0.0, 0.3])
@pytest.mark.parametrize("balance", [0.0, 0.4, 0.8])
def test_the_loss_falls_in_every_step(balance, debias):
    for seed in range(3):
        q = Cluster(balance=balance, debias=debias)
        history = solve(make_problem(sparse_p(P), q, places(N, M, seed=seed, scale=3)), 60).history
        assert (np.diff(history) <= 1e-12).all()
        assert history[0] - history[-1] > 0.01


def test_hard_clusters_gain_the_entropy_of_their_sizes():
    """q sums to less than one by what choosing a small cluster costs."""
    r = np.eye(M)[np.minimum(np.arange(N) // 4, M - 1)]
    share = r.mean(axis=0)
    own = r @ r.T / (r @ r.sum(axis=0))[:, None]
    even, uneven = (-(own * np.log(np.maximum(kernel(r, r, b), 1e-300))).sum() / N for b in (1.0, 0.3))
    assert uneven - even == pytest.approx(-0.7 * (share * np.log(share)).sum(), abs=1e-12)


@pytest.mark.parametrize("balance", [0.2, 0.7])
def test_merges_go_by_it(balance):
    labels, a = np.random.default_rng(6).permutation(np.arange(N) % 8), 0.2

    def cross_entropy(labels):
        r = np.eye(8)[labels]
        q = (1 - a) * kernel(r, np.maximum(r, 1e-300), balance) + a / N
        return -(((1 - a) * P + a / N) * np.log(q)).sum()

    pairs = [(c, d) for c in range(8) for d in range(c)]
    best = min(pairs, key=lambda pair: cross_entropy(np.where(labels == pair[0], pair[1], labels)))
    found = agglomerate(csr_array(P), labels, 7, a, balance=balance)
    assert len(np.unique(found[np.isin(labels, best)])) == 1


@pytest.mark.parametrize(("debias", "balance"), [(0.3, 1.0), (0.0, 0.4), (0.3, 0.4)])
def test_new_rows_minimise_their_own_divergence(debias, balance):
    new, r = random_rows(6, N, density=0.2, seed=4), softmax(2 * LOGITS)
    size = r.sum(axis=0)
    right = (1 - debias) * r / (size**balance * N ** (1 - balance))

    def cost(t, p):
        return -(p * np.log(right @ t + debias / N)).sum()

    found = assign(sparse_p(new), r, n_iter=20_000, tol=1e-13, debias=debias, balance=balance)
    for t, p in zip(found, new, strict=True):
        best = minimize(
            cost, np.full(M, 1 / M), (p,), method="SLSQP", bounds=[(0, 1)] * M,
            constraints={"type": "eq", "fun": lambda t: t.sum() - 1}, options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert cost(t, p) == pytest.approx(best.fun, abs=1e-8)


def long_tailed_digits(seed, ratio=0.05):
    """Classes whose sizes fall geometrically, the last to a twentieth of the first."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.RandomState(seed)
    kept = []
    for rank, digit in enumerate(rng.permutation(10)):
        rows = rng.permutation(np.flatnonzero(y == digit))
        kept.append(rows[: round(len(rows) * ratio ** (rank / 9))])
    kept = np.concatenate(kept)
    return X[kept], y[kept]


def test_a_weaker_pull_finds_the_classes_of_a_long_tail():
    X, y = long_tailed_digits(0)
    even, uneven = (
        ICONClustering(10, p=KNN(15), q=Cluster(balance=balance), n_init=4, random_state=0).fit_predict(X)
        for balance in (1.0, 0.25)
    )
    sizes = np.sort(np.bincount(uneven))
    assert sizes[-1] > np.bincount(even).max()
    assert clustering_accuracy(y, uneven) > clustering_accuracy(y, even) + 0.1


def test_other_divergences_are_refused():
    with pytest.raises(ValueError, match=r"balance=0.5.*KL"):
        ICONClustering(2, q=Cluster(balance=0.5), p=KNN(5), divergence="hellinger").fit(np.eye(12))


@pytest.mark.parametrize("balance", [-0.1, 1.5])
def test_the_power_is_checked(balance):
    with pytest.raises(ValueError, match="balance"):
        ICONClustering(2, q=Cluster(balance=balance)).fit(np.eye(20))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_row_far_below_the_prices_takes_its_share(compiled):
    """G_c / (lambda + price_c) sums to one although lambda all but cancels the least price."""
    G = np.array([[1e-18, 7e-4, 4e-23, 8e-4]])
    price = np.array([9e-4, 8e-4, 4e-5, 8.5e-4])
    threads = (1e-12, 1) if compiled else ()
    r = (onto_simplex if compiled else _project)(G, price, np.full((1, 4), 0.25), *threads)[0]
    lam = brentq(lambda x: (G[0] / (x + (price - price[2]))).sum() - 1, 1e-25, 1.0, xtol=1e-300, rtol=1e-14)
    np.testing.assert_allclose(r, np.maximum(G[0] / (lam + (price - price[2])), 1e-12), rtol=1e-9)
