"""How much work a start gets: none where the engine takes the same steps and nothing is compared."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering
from iconlearn.divergences import ReverseKL
from iconlearn.engines import Closed, Partition
from iconlearn.initialization import _assignments as starting
from iconlearn.learned import Cluster
from iconlearn.supervisory import KNN, Gaussian

IRIS = load_iris().data
DIGITS = load_digits().data[:500]  # few enough for a share to be exact
LABELS = np.random.default_rng(0).integers(3, size=len(IRIS))


@pytest.fixture
def counted(monkeypatch):
    """How often starts are refined and engines solve."""
    counts = {"refined": 0, "solved": 0}

    def count(owner, name, what):
        original = getattr(owner, name)

        def wrapper(*args, **kwargs):
            counts[what] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    count(starting, "refined", "refined")
    count(Closed, "solve", "solved")
    count(Partition, "solve", "solved")
    return counts


def k_means(**options):
    p = Gaussian(sigma="scale", self_pairs=True)
    return ICONClustering(3, p=p, divergence=ReverseKL(entropy=0), random_state=0, **options)


@pytest.mark.parametrize(
    ("options", "solved"),
    [({"init": LABELS}, 1), ({"init": "k-means++", "n_init": 1}, 1), ({"init": "k-means++", "n_init": 3}, 4)],
)
def test_lloyd_s_steps_are_taken_once_from_a_single_start(counted, options, solved):
    k_means(**options).fit(IRIS)
    assert counted == {"refined": 0, "solved": solved}


@pytest.mark.parametrize(
    ("options", "refined"),
    [
        ({}, 0),
        ({"init": LABELS}, 0),
        ({"init": "kmeans", "n_init": 1}, 0),
        ({"init": "kmeans", "n_init": 4}, 3),
        ({"mapper": "linear", "max_iter": 3}, 1),
    ],
)
def test_a_single_start_is_refined_by_the_engine_alone(counted, options, refined):
    ICONClustering(3, random_state=0, **options).fit(IRIS)
    assert counted == {"refined": refined, "solved": int("mapper" not in options)}


@pytest.mark.parametrize("options", [{}, {"init": "kmeans", "n_init": 1}, {"debias": 0.3, "tol": 1e-7}])
def test_steps_that_are_not_taken_twice_are_not_missed(options):
    """Going on from where a fit ended finds no more than its tolerance."""
    model = ICONClustering(10, random_state=0, warm_start=True, **options).fit(DIGITS)
    loss, labels = model.loss_, model.labels_
    model.fit(DIGITS)
    assert model.loss_ == pytest.approx(loss, rel=1e-4)
    assert (model.labels_ != labels).mean() < 0.01


@pytest.mark.parametrize("balance", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_sees_the_way_around_a_ring(seed, balance):
    """Two rings through each other: merging by masses alone cuts both in most of these draws."""
    rng = np.random.default_rng(seed)
    angle, zero = rng.uniform(0, 2 * np.pi, 400), np.zeros(400)
    flat = np.stack([np.cos(angle), np.sin(angle), zero], axis=1)
    upright = np.stack([1 + np.cos(angle), zero, np.sin(angle)], axis=1)
    X = np.concatenate([flat, upright]) + rng.normal(scale=0.03, size=(800, 3))
    model = ICONClustering(2, p=KNN(10), q=Cluster(balance=balance), random_state=seed)
    assert adjusted_rand_score(np.repeat([0, 1], 400), model.fit_predict(X)) == 1.0


def test_eigenvectors_that_cannot_be_had_are_no_start():
    """Rows in pairs: more parts than clusters, all of whose leading eigenvectors say the same."""
    X = np.repeat(np.arange(6.0)[:, None], 2, axis=0) * 100
    for init in ("agglomerate", "spectral"):
        labels = ICONClustering(3, p=KNN(1), init=init, random_state=0).fit_predict(X)
        assert len(np.unique(labels)) == 3
        assert (labels[::2] == labels[1::2]).all()
