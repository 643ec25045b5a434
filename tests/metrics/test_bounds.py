"""Bounds on I(U; Z), U made of X: those that hold on random tables, and those in print that do not.

All amounts are summed from joint tables of (U, X, Y, Z), so a bound is tried where everything is known.
"""

import numpy as np
import pytest
from scipy.special import entr

from iconlearn.metrics import accuracy_range, downstream_bound, multiview_bound

N = 400
TINY = 1e-10


def entropy(joint, *axes):
    """H of some of the variables of every table; the first axis counts tables."""
    drop = tuple(a for a in range(1, joint.ndim) if a not in axes)
    return entr(joint.sum(axis=drop)).reshape(len(joint), -1).sum(axis=1)


def information(joint, a, b, given=()):
    return (
        entropy(joint, *a, *given)
        + entropy(joint, *b, *given)
        - entropy(joint, *a, *b, *given)
        - entropy(joint, *given)
    )


U, X, Y, Z = (1,), (2,), (3,), (4,)


def drawn(rng, *shape):
    """A distribution over the last axis for every table, from even to nearly certain ones."""
    evenness = 10 ** rng.uniform(-1.5, 0.3, (N,) + (1,) * len(shape))
    weights = rng.standard_gamma(np.broadcast_to(evenness, (N, *shape))) + 1e-12
    return weights / weights.sum(axis=-1, keepdims=True)


def tables(kind, seed=0):
    """Joint tables of U, X, Y and Z; U is made of X by a random channel, Y as the kind says."""
    rng, dx, dy, dz, du = np.random.default_rng(seed), 4, 4, 3, 3
    if kind == "any":
        xyz = drawn(rng, dx * dy * dz).reshape(N, dx, dy, dz)
    elif kind == "independent_given_label":
        xyz = np.einsum("nz,nzx,nzy->nxyz", drawn(rng, dz), drawn(rng, dz, dx), drawn(rng, dz, dy))
    else:  # Y is made of X
        xz = drawn(rng, dx * dz).reshape(N, dx, dz)
        xyz = np.einsum("nxz,nxy->nxyz", xz, drawn(rng, dx, dy))
    return np.einsum("nxyz,nxu->nuxyz", xyz, drawn(rng, dx, du))


KINDS = ("any", "independent_given_label", "augmented")


def share_failing(truth, bound):
    return float((truth < bound - TINY).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_data_processing(kind):
    """U knows no more of anything than X does; it may well know more of the label than of the other view."""
    j = tables(kind)
    assert share_failing(information(j, X, Z), information(j, U, Z)) == 0
    assert share_failing(information(j, X, Y), information(j, U, Y)) == 0
    if kind == "any":
        assert (
            share_failing(information(j, U, Y), information(j, U, Z)) > 0.2
        )  # I(U; Z) <= I(U; Y), as printed


@pytest.mark.parametrize("kind", KINDS)
def test_the_two_terms_of_the_general_bound_hold_and_all_four_do_not(kind):
    j = tables(kind)
    truth, told, lost = information(j, U, Z), information(j, U, Y), information(j, X, Y, Z)
    bounds = [
        downstream_bound(representation=a, conditional=b, assume="none").bound
        for a, b in zip(np.maximum(told, 0), np.maximum(lost, 0), strict=True)
    ]
    np.testing.assert_allclose(bounds, told - lost, atol=1e-9)
    assert share_failing(truth, np.array(bounds)) == 0
    left = entropy(j, 2, 3, 4) - entropy(j, 2, 3)  # H(Z | X, Y)
    assert share_failing(truth, told - lost + information(j, Y, Z) - left) > 0.05


@pytest.mark.parametrize(
    ("assume", "kind"),
    [("independent_given_label",) * 2, ("augmented",) * 2, ("either", KINDS[1]), ("either", KINDS[2])],
)
def test_the_bound_of_a_premise_holds_where_that_is_true(assume, kind):
    j = tables(kind)
    told, shared, label_view = (np.maximum(information(j, *pair), 0) for pair in ((U, Y), (X, Y), (Y, Z)))
    bounds = []
    for a, b, c in zip(told, shared, label_view, strict=True):
        more = {} if assume == "independent_given_label" else {"views": b, "label_view": c}
        bounds.append(downstream_bound(representation=a, assume=assume, **more).bound)
    assert share_failing(information(j, U, Z), np.array(bounds)) == 0
    assert np.mean(np.array(bounds) > 0.01) > 0.1  # a bound that were never above nought would prove nothing


def test_the_printed_theorem_fails_under_its_own_premise():
    """I(U; Y) - I(X; Z) + I(Y; Z), and I(U; Y) - I(X; Y) + I(Y; Z) as it is computed, cut off at 0."""
    j = tables("independent_given_label")
    truth = information(j, U, Z)
    told, label_view = information(j, U, Y), information(j, Y, Z)
    assert share_failing(truth, told - information(j, X, Z) + label_view) > 0.2
    assert share_failing(truth, np.maximum(0, told - information(j, X, Y) + label_view)) > 0.3
    made = tables("augmented")
    printed = information(made, U, Y) - information(made, X, Y) + information(made, Y, Z)
    assert share_failing(information(made, U, Z), np.maximum(0, printed)) == 0


def test_a_representation_without_content_shows_it():
    """Y = Z and U constant: the theorem promises I(Y; Z) - I(X; Z), and U knows nothing."""
    xz = np.array([[0.4, 0.1], [0.1, 0.4]])
    joint = np.einsum("xz,yz->xyz", xz, np.eye(2))[None, None]
    assert information(joint, U, Z)[0] == pytest.approx(0)
    printed = information(joint, U, Y) - information(joint, X, Z) + information(joint, Y, Z)
    assert printed[0] > 0.4
    assert downstream_bound(representation=0.0, assume="independent_given_label").vacuous


def test_without_a_premise_the_bounds_of_a_premise_fail():
    j = tables("any")
    truth = information(j, U, Z)
    told, shared, label_view = (information(j, *pair) for pair in ((U, Y), (X, Y), (Y, Z)))
    assert share_failing(truth, told) > 0.1
    assert share_failing(truth, told - np.maximum(0, shared - label_view)) > 0.1


def test_constants_and_a_histogram_promise_nothing_for_ever():
    """I(X; Y) = 5, I(Y; Z) = 2 and an I(U; Y) of 20 bins, which is at most log 20 = 2.996."""
    assert downstream_bound(representation=np.log(20), label_view=2.0, views=5.0).vacuous


# -- several views ----------------------------------------------------------------------------------------------


def view_tables(independent, reads_all=False):
    """Joint tables of U, three views and Z; U is made of the first view, or of all of them."""
    rng, d, dz = np.random.default_rng(1), 3, 3
    if independent:
        views = (drawn(rng, dz, d) for _ in range(3))
        xyz = np.einsum("nz,nza,nzb,nzc->nabcz", drawn(rng, dz), *views)
    else:
        xyz = drawn(rng, d**3 * dz).reshape(N, d, d, d, dz)
    if reads_all:
        return np.einsum("nabcz,nabcu->nuabcz", xyz, drawn(rng, d, d, d, 3))
    return np.einsum("nabcz,nau->nuabcz", xyz, drawn(rng, d, 3))


def of_views(j):
    """I(U; X_i), I(X_i; X_-i | Z) and I(X_i; Z) of three views."""
    label, views = (5,), (2, 3, 4)
    told, lost, about = [], [], []
    for view in views:
        others = tuple(v for v in views if v != view)
        told.append(information(j, U, (view,)))
        lost.append(information(j, (view,), others, label))
        about.append(information(j, (view,), label))
    return tuple(np.maximum(np.transpose(a), 0) for a in (told, lost, about))


@pytest.mark.parametrize("independent", [True, False])
def test_the_bound_of_several_views_holds_without_those_that_are_read(independent):
    j = view_tables(independent)
    told, lost, about = of_views(j)
    truth, rng = information(j, U, (5,)), np.random.default_rng(0)
    weights = np.column_stack([np.zeros(N), rng.dirichlet(np.ones(2), N)])
    reads = [True, False, False]
    bounds = [
        multiview_bound(a, b, w, reads=reads).bound for a, b, w in zip(told, lost, weights, strict=True)
    ]
    best = [multiview_bound(a, b, reads=reads).bound for a, b in zip(told, lost, strict=True)]
    assert share_failing(truth, np.array(bounds)) == 0 and share_failing(truth, np.array(best)) == 0
    assert (np.array(best) >= np.array(bounds) - TINY).all()
    if independent:
        assert np.mean(np.array(bounds) > 0.01) > 0.3
    # As printed, with a further share of what the views tell of the label.
    fails = share_failing(truth, (weights * (told - lost + 0.5 * about)).sum(axis=1))
    assert fails > (0.3 if independent else 0.005)


def test_a_representation_of_all_views_is_not_covered():
    j = view_tables(True, reads_all=True)
    told, lost, _ = of_views(j)
    assert share_failing(information(j, U, (5,)), (told - lost).mean(axis=1)) > 0.05


# -- accuracy ---------------------------------------------------------------------------------------------------


def test_the_accuracy_of_the_best_rule_is_within_its_range():
    rng = np.random.default_rng(0)
    for k in (2, 3, 10):
        for concentration in (0.1, 1.0):
            joint = rng.dirichlet(np.full(6 * k, concentration)).reshape(6, k)
            told = information(joint[None], (1,), (2,))[0]
            low, high = accuracy_range(told, entr(joint.sum(axis=0)).sum(), k)
            assert low - TINY <= joint.max(axis=1).sum() <= high + TINY


def test_the_ends_of_the_range_are_reached():
    """Fano's by equal mistakes; the other one by rows that are certain or undecided between two classes."""
    k, e = 5, 0.3
    equal = np.full((k, k), e / (k - 1)) + (1 - e - e / (k - 1)) * np.eye(k)
    left = entr(equal[0]).sum()
    assert accuracy_range(np.log(k) - left, np.log(k), k)[1] == pytest.approx(1 - e, abs=1e-9)
    share = 0.4  # undecided between two equal classes: H(Z | U) = 0.4 log 2, error 0.2
    assert accuracy_range(np.log(k) - share * np.log(2), np.log(k), k)[0] == pytest.approx(1 - share / 2)
    assert accuracy_range(np.log(k), np.log(k), k) == (1.0, 1.0)
    assert accuracy_range(0.0, np.log(k), k) == pytest.approx((1 / k, 1 / k))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: downstream_bound(representation=1), "label_view=None is needed with assume='either'"),
        (lambda: downstream_bound(representation=1, assume="none"), "conditional=None is needed"),
        (lambda: downstream_bound(representation=1, assume="none", conditional=1, views=2), "views=2 is not looked"),
        (lambda: downstream_bound(representation=-1, label_view=1, views=1), "representation=-1"),
        (lambda: downstream_bound(representation=1, assume="some"), "assume='some'"),
        (lambda: multiview_bound([1, 2], [1]), "represented has 2 views and conditional 1"),
        (lambda: multiview_bound([1, 2], [0, 0], [0.5, 0.6]), "one in all"),
        (lambda: multiview_bound([1, 2], [0, 0], [0.5, 0.5], reads=[True, False]), "reads has a weight"),
        (lambda: multiview_bound([1, 2], [0, 0], reads=[True, True]), "not of all"),
        (lambda: multiview_bound([1, -2], [0, 0]), "represented"),
        (lambda: accuracy_range(3.0, 2.0, 10), "information=3.0"),
        (lambda: accuracy_range(1.0, 3.0, 10), "class_entropy=3.0"),
        (lambda: accuracy_range(1.0, 1.0, 1), "n_classes=1"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
