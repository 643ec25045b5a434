"""Information: bounds over training, estimates where the truth is known, and bounds that say nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from sklearn.datasets import load_digits
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

from iconlearn import ICONEmbedding, recipes
from iconlearn.metrics import InformationBound, downstream_bound, mutual_information
from iconlearn.supervisory import KNN, Debias, Gaussian, Graph, Paired

X, Y = load_digits(return_X_y=True)


def test_the_bound_of_every_iteration_stays_below_its_ceiling():
    bound = InformationBound(299, entropy=np.log(10))
    model = ICONEmbedding(p="knn", callback=bound, max_iter=60, random_state=0).set_params(p__n_neighbors=10)
    model.fit(X[:300])
    assert bound.ceiling == pytest.approx(np.log(299) - np.log(10))
    assert len(bound.history) == 60 and bound.history[-1] > bound.history[0] > -1e-3
    assert max(bound.history) < bound.ceiling
    # log N - H(p, q), by its definition.
    Z = model.embedding_.astype(float)
    d = ((Z[:, None] - Z) ** 2).sum(axis=2)
    k = 1 / (1 + d) * ~np.eye(300, dtype=bool)
    P = model.p_.conditional_.edges.toarray()
    cross = -(P[P > 0] * np.log((k / k.sum(axis=1, keepdims=True))[P > 0])).sum() / 300
    assert np.log(299) - cross == pytest.approx(max(bound.history), abs=0.02)


def test_a_contrastive_bound_and_a_further_callback():
    bound = InformationBound(2 * 200 - 1, then=lambda record: record.iteration == 4)
    recipes.simclr(n_components=8, callback=bound, random_state=0).fit(X[:200] / 16)
    assert len(bound.history) == 4 and bound.history[-1] <= np.log(399)


@pytest.mark.parametrize("gap", [0.5, 2.0, 8.0])
def test_information_of_places_where_it_is_known(gap):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 1500)
    z = rng.normal(size=(3000, 1)) + gap * y[:, None]

    def density(x, mean):
        return np.exp(-0.5 * (x - mean) ** 2) / np.sqrt(2 * np.pi)

    def integrand(x):
        a, b = density(x, 0), density(x, gap)
        mixed = 0.5 * (a + b)
        return sum(0.5 * f * np.log(f / mixed) for f in (a, b) if f > 1e-300)

    truth = quad(integrand, -10, gap + 10, limit=200)[0]
    assert mutual_information(z, y) == pytest.approx(truth, abs=0.04)
    assert mutual_information(z, y) == pytest.approx(
        mutual_info_classif(z, y, discrete_features=False, random_state=0)[0], abs=0.02
    )


def test_information_of_clusters_and_of_nothing():
    rng = np.random.default_rng(0)
    labels = rng.integers(7, size=len(Y))
    assert mutual_information(labels, Y) == pytest.approx(mutual_info_score(labels, Y), abs=1e-12)
    assert mutual_information(Y, Y) == pytest.approx(np.log(10), abs=1e-2)
    assert mutual_information(rng.normal(size=(900, 3)), Y[:900]) < 0.1
    assert mutual_information(X[:900], Y[:900]) > 1.5
    assert mutual_information(X[:900], Y[:900], n_neighbors=15) != mutual_information(X[:900], Y[:900])
    with_single = mutual_information(np.vstack([X[:100], X[:1]]), np.r_[Y[:100], 99])
    assert with_single == pytest.approx(mutual_information(X[:100], Y[:100]), abs=1e-9)


def test_the_downstream_bound_says_when_it_is_vacuous():
    good = downstream_bound(label_view=2.3, views=2.3, representation=2.0)
    assert good.bound == pytest.approx(2.0) and not good.vacuous and "at least 2 nats" in repr(good)
    empty = downstream_bound(label_view=2.3, views=6.0, representation=3.0)
    assert empty.bound == pytest.approx(-0.7) and empty.vacuous and "vacuous" in repr(empty)


@pytest.mark.parametrize(
    "p",
    [
        KNN(15),
        Gaussian(20),
        Graph(mass="degree"),
        Debias(KNN(5), 0.3),
        Gaussian(sigma="scale"),
        Paired(pairs=[(0, 1), (1, 2), (1, 3)]),
    ],
)
def test_the_bound_of_a_fitted_p_ends_at_its_information(p):
    """Hubs take information away: log N - H(p) is above what the pairs tell, where columns are not neighbours alike."""
    star = np.zeros((40, 40))
    star[0, 1:] = star[1:, 0] = 1
    conditional = p.fit(star if p.pairwise else X[:300] / 16).conditional_
    truth = information(conditional.row_mass[:, None] * conditional.full())
    bound = InformationBound.of(conditional, then=lambda record: record)
    assert bound.ceiling == pytest.approx(truth, abs=1e-10)
    assert bound(SimpleNamespace(loss=0.25)).loss == 0.25
    assert bound.history == [pytest.approx(truth - 0.25)]


def test_without_the_entropy_of_columns_they_are_taken_to_weigh_alike():
    star = np.zeros((40, 40))
    star[0, 1:] = star[1:, 0] = 1
    p = Graph().fit(star).conditional_
    known = InformationBound.of(p)
    taken = InformationBound(40, entropy=known.entropy)
    assert known.ceiling == pytest.approx(0.117, abs=1e-3) and taken.ceiling > 3.5
    alike = Paired(pairs=[(2 * i, 2 * i + 1) for i in range(20)]).fit(star).conditional_
    assert InformationBound.of(alike).ceiling == pytest.approx(InformationBound(40).ceiling)


@pytest.mark.parametrize("decimals", [0, 1])
def test_information_of_places_that_coincide(decimals):
    """Rounded places are discrete values, whose counts tell how much they say."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=2000)
    z = np.round(rng.normal(size=2000) + 2 * y, decimals)
    counts = mutual_information(z, y)
    assert mutual_information(z[:, None], y) == pytest.approx(counts, abs=0.1) and counts > 0.3
    again = np.repeat(np.random.default_rng(1).normal(size=(5, 3)), 40, axis=0)
    assert mutual_information(again, np.repeat(np.arange(5), 40)) == pytest.approx(np.log(5), abs=0.05)


def information(table):
    product = table.sum(axis=1, keepdims=True) * table.sum(axis=0)
    on = table > 0
    return max(0.0, (table[on] * np.log(table[on] / product[on])).sum())


def channels(rng, y_from):
    """Joint tables of a label, two views and a coarser first view; the second is made of the label or the first."""
    u = rng.dirichlet(np.ones(3))
    ux = u[:, None] * rng.dirichlet(np.full(6, 0.2), 3)
    if y_from == "label":
        uxy = ux[:, :, None] * rng.dirichlet(np.full(5, 0.2), 3)[:, None, :]
    else:
        uxy = ux[:, :, None] * rng.dirichlet(np.full(5, 0.2), 6)[None]
    coarse = np.eye(3)[rng.integers(3, size=6)]
    joint = {"ux": ux, "uy": uxy.sum(axis=1), "xy": uxy.sum(axis=0)}
    return {**joint, "uz": ux @ coarse, "zy": coarse.T @ joint["xy"]}


@pytest.mark.parametrize("y_from", ["label", "view"])
def test_the_downstream_bound_holds_where_all_is_known(y_from):
    rng, bounds = np.random.default_rng(0), []
    for _ in range(50):
        truth = {name: information(table) for name, table in channels(rng, y_from).items()}
        found = downstream_bound(label_view=truth["uy"], views=truth["xy"], representation=truth["zy"])
        assert truth["uz"] >= found.bound - 1e-12
        bounds.append(found.bound)
        if y_from == "view":
            assert found.bound == pytest.approx(truth["uy"] - truth["xy"] + truth["zy"])
    assert np.sum(np.array(bounds) > 0.01) >= 5  # a bound that were never above nought would prove nothing


def test_the_downstream_bound_says_what_it_takes_for_granted():
    """X = C, Y = (C, B), U = B, Z = X: neither assumption holds, and Z tells nothing of the label."""
    b = c = np.log(2)
    found = downstream_bound(label_view=b, views=c, representation=c)
    assert (
        found.bound > 0
        and "if one view is made of the other or they are independent given the label" in found.reason
    )


def test_why_the_longer_formula_is_not_used_for_views_independent_given_the_label():
    truth = {n: information(t) for n, t in channels(np.random.default_rng(1), "label").items()}
    nothing = 0.0  # a representation that is the same for all rows
    assert truth["uy"] - truth["xy"] + nothing > 0.05
    assert downstream_bound(label_view=truth["uy"], views=truth["xy"], representation=nothing).vacuous


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InformationBound(1), "n_candidates"),
        (lambda: InformationBound(10, entropy=3), "entropy"),
        (lambda: InformationBound(10, column_entropy=3), "column_entropy"),
        (lambda: downstream_bound(label_view=-1, views=1, representation=1), "label_view"),
        (lambda: mutual_information(X[:4], [0, 1, 2, 3]), "one row only"),
        (lambda: mutual_information(X[:9], Y[:9], n_neighbors=0), "n_neighbors"),
        (lambda: mutual_information(X[:9], Y[:8]), "inconsistent"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
