"""p read off companions: whose it is, and which way it points."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from iconlearn.supervisory import KNN, Companion, Gaussian

rng = np.random.default_rng(0)
FEATURES, COMPANIONS = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
X = np.hstack([FEATURES, COMPANIONS])


def rows(p):
    return p.conditional_.sparse().toarray()


def test_it_is_the_p_of_the_companions_alone():
    p = Companion(KNN(3), split=3).fit(X)
    assert_allclose(rows(p), rows(KNN(3).fit(COMPANIONS)))
    assert p.features(5) == (slice(0, 3), slice(0, 3))


def test_unit_companions_have_directions_only():
    longer = np.hstack([FEATURES, COMPANIONS * rng.uniform(1, 9, (12, 1))])
    scaled, plain = (Companion(KNN(3), split=3, unit=unit).fit(longer) for unit in (True, False))
    assert_allclose(rows(scaled), rows(Companion(KNN(3), split=3, unit=True).fit(X)))
    assert not np.allclose(rows(plain), rows(scaled))


def test_transposed_rows_are_near_those_that_count_them_in():
    near = rows(KNN(3).fit(COMPANIONS)).T
    total = near.sum(axis=1, keepdims=True)
    expected = np.divide(near, total, where=total > 0, out=np.zeros_like(near))
    assert_allclose(rows(Companion(KNN(3), split=3, transpose=True).fit(X)), expected)


def test_new_rows_have_neighbours_among_the_companions():
    new = np.hstack([rng.normal(size=(4, 3)), COMPANIONS[:4] + 1e-6])
    p = Companion(KNN(2), split=3).fit(X)
    expected = KNN(2).fit(COMPANIONS).extend(new[:, 3:])
    assert_allclose(p.extend(new).sparse().toarray(), expected.sparse().toarray())
    with pytest.raises(ValueError, match="a transposed Companion has no p for new rows"):
        Companion(KNN(2), split=3, transpose=True).fit(X).extend(new)


def test_sparse_rows_are_the_same_rows():
    p, same = (Companion(Gaussian(3), split=3).fit(data) for data in (X, sparse.csr_array(X)))
    assert_allclose(rows(p), rows(same), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"split": 5}, ValueError, "split=5 is out of range"),
        ({"split": 3, "unit": "yes"}, TypeError, "unit='yes' must be True or False"),
        ({"split": 3, "transpose": 1}, TypeError, "transpose=1 must be True or False"),
    ],
)
def test_what_is_wrong_is_named(options, error, match):
    with pytest.raises(error, match=match):
        Companion(KNN(2), **options).fit(X)
