"""Estimates of information between two representations where the truth is known, or another library has it."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from iconlearn.metrics import information_between, noise_information


def gaussian_pairs(n, correlations, seed=0):
    """Pairs of vectors, coordinate by coordinate of the given correlations, and their information."""
    r = np.array(correlations)
    a, b = np.random.default_rng(seed).normal(size=(2, n, len(r)))
    return a, r * a + np.sqrt(1 - r**2) * b, -0.5 * np.log(1 - r**2).sum()


def test_gaussian_pairs_by_their_covariances():
    U, V, truth = gaussian_pairs(20000, [0.9, 0.5, 0.0])
    assert information_between(U, V, "gaussian") == pytest.approx(truth, abs=0.02)
    mix = np.random.default_rng(1).normal(size=(2, 3, 3))  # any invertible map leaves information as it is
    assert information_between(U @ mix[0], V @ mix[1] + 5, "gaussian") == pytest.approx(truth, abs=0.02)
    assert information_between(U[:, 0], V[:, 0], "gaussian") == pytest.approx(-0.5 * np.log(0.19), abs=0.02)


def test_columns_that_repeat_or_do_not_change_add_nothing():
    U, V, _ = gaussian_pairs(5000, [0.8])
    more = np.column_stack([U, 2 * U, np.ones(5000)])
    assert information_between(more, V, "gaussian") == pytest.approx(
        information_between(U, V, "gaussian"), abs=1e-9
    )


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, 0.95])
def test_contrast_stays_below_the_truth_and_comes_near(correlation):
    U, V, truth = gaussian_pairs(1200, [correlation] * 2)
    found = information_between(U, V, kernel="gaussian")
    assert found <= truth + 0.05
    assert found >= 0.8 * truth - 0.01


def test_contrast_by_its_definition_and_by_the_best_temperature():
    U, V, _ = gaussian_pairs(200, [0.9] * 4)
    u, v = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (U, V))
    q = np.exp(u @ v.T / 0.3)
    q /= q.sum(axis=1, keepdims=True)
    assert information_between(U, V, temperature=0.3) == pytest.approx(
        np.log(200) + np.log(q.diagonal()).mean()
    )
    grid = max(information_between(U, V, temperature=t) for t in np.geomspace(0.05, 2, 60))
    assert grid <= information_between(U, V) + 1e-6 and information_between(U, V) == pytest.approx(
        grid, abs=5e-3
    )


def test_contrast_knows_no_more_than_the_rows_can_tell():
    U = np.random.default_rng(0).normal(size=(50, 30))
    assert information_between(U, U) == pytest.approx(np.log(50), abs=1e-6)
    assert information_between(U, -U, temperature=1.0) == 0  # worse than chance


def test_histogram_is_the_count_of_bins_and_ends_at_their_logarithm():
    U, V, _ = gaussian_pairs(3000, [0.7, 0.9])
    edges = [np.histogram_bin_edges(Z[:, 0], 12)[1:-1] for Z in (U, V)]
    counted = mutual_info_score(np.digitize(U[:, 0], edges[0]), np.digitize(V[:, 0], edges[1]))
    assert information_between(U, V, "histogram", n_bins=12) == pytest.approx(counted, abs=1e-12)
    whole = np.linspace(0, 1, 4000)
    assert information_between(whole, whole, "histogram", n_bins=12) == pytest.approx(np.log(12), abs=1e-3)
    # Blind to all but the first column.
    shuffled = np.column_stack([U[:, 0], np.random.default_rng(0).permutation(U[:, 1])])
    assert information_between(U, V, "histogram") == information_between(shuffled, V, "histogram")


def test_noise_leaves_what_gaussian_channels_carry_or_the_rows_are():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20000, 2)) @ rng.normal(size=(2, 2))
    # For Gaussian rows the bound is the information itself.
    clean, noisy = X, X + 0.7 * rng.normal(size=X.shape)
    assert noise_information(X, 0.7) == pytest.approx(information_between(clean, noisy, "gaussian"), abs=0.03)
    assert noise_information(X, [0.7, 0.7]) == noise_information(X, 0.7)
    assert noise_information(X[:40], 1e-6) == pytest.approx(np.log(40))
    assert noise_information(X, 0.1) > noise_information(X, 1.0) > noise_information(X, 10.0) > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: information_between([1.0, 2.0, 3.0], [1.0, 2.0]), "inconsistent"),
        (lambda: information_between(np.eye(3), np.ones((3, 2))), "U has 3 columns and V 2"),
        (lambda: information_between(np.eye(3), np.eye(3), "kraskov"), "method='kraskov'"),
        (lambda: information_between(np.eye(3), np.eye(3), kernel="dot"), "kernel='dot'"),
        (lambda: information_between(np.eye(3), np.eye(3), temperature=0), "temperature=0"),
        (lambda: information_between(np.eye(3), np.eye(3), "histogram", n_bins=1), "n_bins=1"),
        (lambda: information_between([1.0, np.nan], [1.0, 2.0]), "NaN"),
        (lambda: information_between([1.0], [1.0]), "minimum of 2"),
        (lambda: noise_information(np.eye(3), 0), "scale="),
        (lambda: noise_information(np.eye(3), [1, 1]), "scale="),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
