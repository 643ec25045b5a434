"""Weights of pairs: how often they are built, and what stays of them in smaller or changed ones."""

import inspect

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import mutual_info_score

from iconlearn import ICONClustering
from iconlearn.clusters import PairWeights
from iconlearn.supervisory import KNN

IRIS = load_iris().data
N = 40


@pytest.fixture
def built(monkeypatch):
    """The numbers of rows of all weights that are built."""
    sizes, original = [], PairWeights.__init__

    def init(self, edges, *args, **kwargs):
        sizes.append(edges.shape[0])
        original(self, edges, *args, **kwargs)

    monkeypatch.setattr(PairWeights, "__init__", init)
    return sizes


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init": "kmeans", "n_init": 3},
        {"init": "random", "n_init": 1},
        {"engine": "dense", "max_iter": 3},
        {"mapper": "linear", "max_iter": 3},
        {"n_clusters": "auto"},
    ],
)
def test_a_fit_builds_the_weights_of_its_rows_once(built, options):
    ICONClustering(**{"n_clusters": 3, "random_state": 0, **options}).fit(IRIS)
    assert built.count(len(IRIS)) == 1


def test_a_search_among_micro_clusters_builds_smaller_ones(built):
    X = load_digits().data[:700]
    ICONClustering(3, p=KNN(10), n_init=2, max_iter=3, random_state=0).fit(X)
    assert built.count(700) == 1 and len(built) > 1


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return PairWeights(
        sparse.random_array((N, N), density=0.3, rng=rng, format="csr"), rng.random(N) / N, 0.2
    )


def test_groups_of_one_row_change_nothing(weights):
    assert weights.coarsened(np.arange(N)) is weights
    turned = weights.coarsened(np.arange(N)[::-1])
    np.testing.assert_allclose(turned.edges.toarray(), weights.edges.toarray()[::-1, ::-1])


def test_groups_and_balances_are_those_of_a_copy(weights):
    r = np.random.default_rng(1).dirichlet(np.ones(3), size=N)
    before = weights.explained(r)
    assert weights.grouped(np.arange(N) // 4).explained(r)[1] != pytest.approx(before[1], rel=1e-12)
    assert weights.balanced(0.5).explained(r)[1] != pytest.approx(before[1], rel=1e-12)
    after = weights.explained(r)
    np.testing.assert_array_equal(after[0], before[0])
    assert after[1] == before[1]


def test_a_fit_makes_one_p(monkeypatch):
    made, original = [], KNN.__init__

    def init(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    init.__signature__ = inspect.signature(original)  # by which scikit-learn finds the parameters
    monkeypatch.setattr(KNN, "__init__", init)
    fit = ICONClustering(3, random_state=0).fit(IRIS)
    assert made == [fit.p_]
    assert ICONClustering(3).set_params(p__n_neighbors=7).p.n_neighbors == 7
    assert ICONClustering(3).fit(IRIS).p_.n_neighbors == 20


def test_information_is_that_of_the_ends_of_all_edges():
    """Whole weights are edges that are there so often; a uniform share and a balance say nothing."""
    rng = np.random.RandomState(0)
    A, labels = rng.poisson(0.3, (N, N)), rng.randint(4, size=N)
    row, col = (np.repeat(at, A[np.nonzero(A)]) for at in np.nonzero(A))
    ends = np.concatenate([row, col]), np.concatenate([col, row])
    graph = PairWeights(sparse.csr_array(A.astype(float)), np.ones(N), 0.2, balance=0.3)
    assert graph.information(labels) == pytest.approx(mutual_info_score(labels[ends[0]], labels[ends[1]]))
    assert graph.entropy(labels) == pytest.approx(mutual_info_score(*[labels[ends[0]]] * 2))
    nodes = rng.randint(12, size=N)
    among = np.arange(12) % 3
    assert graph.coarsened(nodes).information(among) == pytest.approx(graph.information(among[nodes]))
