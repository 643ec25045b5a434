"""Every wrapper over every p, nested ones too: it works, or says in a sentence why not and what to do."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from iconlearn import ICONEmbedding
from iconlearn.conditional import Conditional
from iconlearn.supervisory import (
    KNN,
    CannotLink,
    Choices,
    Classes,
    Companion,
    Cooccurrence,
    Cut,
    Debias,
    Gaussian,
    Graph,
    Identity,
    Labels,
    Mix,
    MustLink,
    Paired,
    Pairs,
    Precomputed,
    Spectral,
    Student,
    SymmetricEntropic,
    Symmetrize,
    Triplets,
    Views,
    Walk,
    WideGaussian,
    declared,
)
from iconlearn.supervisory._wrapper import Wrapper

N, SPLIT = 12, 4
rng = np.random.default_rng(0)
# Rows of features, a graph, distances, counts and probabilities at once.
X = rng.random((N, N))
X += X.T
np.fill_diagonal(X, 0)
PROBABILITIES = X / X.sum(axis=1, keepdims=True)
Y = np.arange(N) % 3


class Ring:
    """A p of the user's own, with no more than the two methods."""

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        self.conditional_ = Conditional(csr_array(np.roll(np.eye(len(X)), 1, axis=1)), self_pairs=False)
        return self

    def extend(self, X_new, *, n_jobs=None):
        return Conditional(csr_array(np.eye(len(X_new), N)))


PS = {
    "knn": KNN(3),
    "knn of distances": KNN(3, metric="precomputed"),
    "gaussian": Gaussian(3),
    "gaussian over all": Gaussian(3, n_neighbors=None),
    "gaussian with self pairs": Gaussian(sigma="scale", self_pairs=True),
    "gaussian of distances": Gaussian(3, metric="precomputed"),
    "entropic": SymmetricEntropic(3),
    "student": Student(n_neighbors=4),
    "wide gaussian": WideGaussian(),
    "graph": Graph(),
    "graph by degree": Graph(mass="degree"),
    "graph beside features": Graph(X),
    "probabilities": Precomputed(),
    "distances": Precomputed("distance", perplexity=3),
    "identity": Identity(),
    "labels": Labels(),
    "labels with self pairs": Labels(self_pairs=True),
    "classes": Classes(),
    "links": MustLink([(0, 1), (4, 7)]),
    "links of y": MustLink(),
    "two groups of features": Paired(SPLIT),
    "pairs of rows": Paired(pairs=[(0, 1), (4, 7)]),
    "views": Views(),
    "three views": Views(n_views=3),
    "views against views": Views(cross=True),
    "words": Cooccurrence(),
    "bags of words": Cooccurrence(mode="cbow"),
    "words by a tree": Cooccurrence(output="tree"),
    "words against noise": Cooccurrence(output="negative"),
    "choices": Choices([[(i + 1) % N, (i + 2) % N, -1] for i in range(N)]),
    "triples": Triplets([(0, 1, 2), (3, 4, 5), (0, 6, 7)]),
    "alike and unlike": Pairs([(0, 1), (2, 3), (2, 4)], [True, False, True]),
    "apart": CannotLink([(0, 1), (4, 7)]),
    "of another's making": Ring(),
}
WRAPPERS = {
    "debias": lambda p: Debias(p, 0.3),
    "walk": lambda p: Walk(p, 2),
    "uniform walk": lambda p: Walk(p, 2, mode="uniform"),
    "mean": lambda p: Symmetrize(p),
    "union": lambda p: Symmetrize(p, "union"),
    "mutual": lambda p: Symmetrize(p, "mutual"),
    "mix with itself": lambda p: Mix([p, p], [1, 2]),
    "mix with neighbours": lambda p: Mix([p, KNN(3)]),
    "cut": lambda p: Cut(p),
    "spectral": lambda p: Spectral(p, 2),
    "companion": lambda p: Companion(p, SPLIT),
    "transposed companion": lambda p: Companion(p, SPLIT, transpose=True),
}
# What a user can do something about: no failure deep inside of numpy, scipy or torch.
RAW = ("index", "broadcast", "attribute", "dimension", "unhashable", "not callable", "NoneType", "shapes (")


def names_of(p):
    """The classes that a p is nested of, from the outside in."""
    inner = getattr(p, "ps", None) or [getattr(p, "p", None)]
    return {type(p).__name__}.union(*(names_of(q) for q in inner if q is not None))


def assert_sentence(error, p):
    text = str(error)
    assert isinstance(error, ValueError | TypeError) and len(text) > 40, (p, text)
    assert not any(word in text for word in RAW), (p, text)
    assert any(name in text for name in names_of(p)), (p, text)


def assert_distributions(conditional):
    assert np.isfinite(conditional.row_mass).all()
    if conditional.wide:
        return
    if conditional.listed:
        found = conditional.lists()
        of = np.r_[found.i, found.null]
        np.testing.assert_allclose(np.bincount(of, found.p), 1, atol=1e-9)
        assert (found.p >= 0).all() and (found.weight >= 0).all()
        return
    P = conditional.full()
    assert P.shape == conditional.shape and (P >= 0).all()
    np.testing.assert_allclose(P.sum(axis=1)[conditional.supported()], 1, atol=1e-9)


def tried(p):
    """Fit a p and ask for new rows; "works", or the sentence."""
    data = PROBABILITIES if "Precomputed" in names_of(p) else X
    p = clone(p, safe=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            p.fit(data, Y, random_state=0)
        except Exception as error:
            assert_sentence(error, p)
            return str(error)
        assert_distributions(p.conditional_)
        try:
            new = p.extend(data[:4] + (0 if "Precomputed" in names_of(p) else 1e-3))
        except Exception as error:
            assert_sentence(error, p)
        else:
            assert new.shape == (4, p.conditional_.n_cols)
            assert_distributions(new)
    return "works"


@pytest.mark.parametrize("inner", PS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_works_or_says_why_not(wrapper, inner):
    p = WRAPPERS[wrapper](PS[inner])
    outcome = tried(p)
    if outcome != "works" and wrapper != "mix with neighbours":
        # Both by name, and what to use instead.
        assert type(p).__name__ in outcome and type(PS[inner]).__name__ in outcome, outcome
        assert any(word in outcome for word in ("use ", "give ", "put ")), outcome


@pytest.mark.parametrize("outer", WRAPPERS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_nested_wrappers_too(wrapper, outer):
    for inner in PS.values():
        tried(WRAPPERS[outer](WRAPPERS[wrapper](inner)))


def fits_alone(p):
    return tried(p) == "works"


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_estimators_fit_what_a_wrapper_makes(wrapper):
    """A wrapper speaks for its inner p, so that the estimator reads features, views and words as p does."""
    for inner in PS.values():
        p = WRAPPERS[wrapper](inner)
        if not fits_alone(p) or p.pairwise:
            continue
        q = {"q": "wide_gaussian"} if "WideGaussian" in names_of(p) else {"q": "gaussian"}
        model = ICONEmbedding(p=p, mapper="linear", max_iter=2, random_state=0, **q)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                model.fit(X, Y)
            except Exception as error:
                assert_sentence(error, p)


@pytest.mark.parametrize("name", ["columns", "requires_y", "pairwise", "from_features", "fresh", "copies"])
def test_what_is_not_declared_has_the_default_of_the_protocol(name):
    default = {"columns": "rows", "copies": 1}.get(name, False)
    assert declared(Ring(), name) == default
    assert getattr(Debias(Ring()), name) == default
    assert declared(Ring(), "features") is None and declared(Debias(Ring()), "prepare") is None
    assert getattr(Debias(Views(n_views=3)), name) == getattr(Views(n_views=3), name)
    assert issubclass(Debias, Wrapper)


@pytest.mark.parametrize(
    ("p", "share"),
    [
        (Classes(), 0),
        (Debias(Classes(), 0.3), 0.3),
        (Debias(Debias(Classes(), 0.3), 0.5), 0.65),
        (Mix([Classes(), Debias(Classes(), 0.4)], [1, 3]), 0.3),
        (Labels(), 0),
        (Debias(Labels(), 0.3), 0.3),
        (Ring(), 0),
    ],
)
def test_targets_are_the_classes_with_the_share_spread_over_them(p, share):
    targets = declared(p, "targets")(4).full()
    np.testing.assert_allclose(targets, (1 - share) * np.eye(4) + share / 4)
    assert not hasattr(p, "conditional_")


def test_targets_of_a_p_of_the_users_own_are_what_it_says_of_each_class():
    class Ordered(Classes):
        """A share of every class goes to the next."""

        def fit(self, X, y=None, **options):
            edges = super().fit(X, y, **options).conditional_.edges
            self.conditional_ = Conditional(
                csr_array(0.9 * edges + 0.1 * np.roll(edges.toarray(), 1, axis=1))
            )
            return self

    expected = 0.9 * np.eye(3) + 0.1 * np.roll(np.eye(3), 1, axis=1)
    np.testing.assert_allclose(Ordered().targets(3).full(), expected)


@pytest.mark.parametrize("inner", [Gaussian(3, n_neighbors=None), Gaussian(sigma=1.0), Labels()])
def test_a_dense_p_is_transposed_on_demand(inner):
    plain = clone(inner).fit(X[:, SPLIT:], Y).conditional_
    p = Companion(inner, SPLIT, transpose=True).fit(X, Y).conditional_
    P = plain.full().T
    np.testing.assert_allclose(p.full(), P / P.sum(axis=1, keepdims=True))
    assert p.dense and p.self_pairs == plain.self_pairs
