"""Rows of small integers and of packed bits: what they stand for, and not what is convenient to compute."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering
from iconlearn.neighbors import distance_block, knn
from iconlearn.supervisory import KNN

RNG = np.random.default_rng(0)
GROUP = np.repeat(np.arange(4), 50)
FEATURES = RNG.normal(size=(4, 60))[GROUP] + 0.6 * RNG.normal(size=(200, 60))
BITS = FEATURES > 0
PACKED = np.packbits(BITS, axis=1)
SMALL = np.round(FEATURES * 127 / np.abs(FEATURES).max()).astype(np.int8)


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_packed_bits_are_bits(metric):
    # Padding bits, here four, count as equal ones do.
    bits = np.unpackbits(PACKED, axis=1).astype(bool)
    bits[0] = False
    rows, packed = bits[:30], np.packbits(bits, axis=1)
    expected = cdist(rows, bits, metric)
    for X in (packed, packed.astype(float)):
        np.testing.assert_allclose(distance_block(X[:30], X, metric=f"bit_{metric}"), expected, atol=1e-15)
    distances, indices = knn(packed, 7, metric=f"bit_{metric}", queries=packed[:30] ^ 5)
    expected = cdist(np.unpackbits(packed[:30] ^ 5, axis=1).astype(bool), bits, metric)
    order = np.lexsort((np.broadcast_to(np.arange(200), expected.shape), expected), axis=1)[:, :7]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, axis=1), atol=1e-15)
    packed_fit = ICONClustering(4, p=KNN(20, metric=f"bit_{metric}"), n_init=2, random_state=0).fit(PACKED)
    assert adjusted_rand_score(GROUP, packed_fit.labels_) > 0.95
    assert adjusted_rand_score(GROUP, packed_fit.predict(PACKED ^ np.uint8(128))) > 0.9


@pytest.mark.slow
def test_many_rows_of_packed_bits_are_searched_approximately():
    pytest.importorskip("pynndescent")
    distances, indices = knn(PACKED, 5, metric="bit_hamming", backend="pynndescent", random_state=0)
    exact = cdist(BITS, BITS, "hamming") * 60 / 64
    np.testing.assert_allclose(distances, np.take_along_axis(exact, indices, axis=1), atol=1e-15)


def test_other_numbers_are_no_packed_bits():
    for X in (BITS - 0.5, SMALL.astype(float)):
        with pytest.raises(ValueError, match="metric='bit_hamming' takes rows of packed bits"):
            ICONClustering(4, p=KNN(5, metric="bit_hamming"), n_init=1).fit(X)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.float16, bool])
def test_small_numbers_are_kept_in_single_precision(dtype):
    """Their values are exact there: nothing overflows or is rounded, and it takes half the memory of double."""
    X = (
        SMALL > 0 if dtype is bool else SMALL if dtype in (np.int8, np.float16) else SMALL.astype(int) + 128
    ).astype(dtype)
    before = X.copy()
    fit = ICONClustering(4, n_init=2, random_state=0).fit(X)
    double = ICONClustering(4, n_init=2, random_state=0).fit(X.astype(float))
    assert fit.probabilities_.dtype == np.float32 and double.probabilities_.dtype == np.float64
    np.testing.assert_array_equal(fit.labels_, double.labels_)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(
        fit.p_.conditional_.sparse().toarray(), double.p_.conditional_.sparse().toarray()
    )
    np.testing.assert_array_equal(fit.predict(X[:9]), fit.labels_[:9])
    far = np.full((2, 3), 120, dtype=np.int8) * np.array([[1], [-1]], dtype=np.int8)
    for metric in ("euclidean", "cityblock"):
        np.testing.assert_allclose(
            distance_block(far, far, metric=metric), distance_block(*[far.astype(float)] * 2, metric=metric)
        )
