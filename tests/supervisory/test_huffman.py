"""Huffman's tree: codes as short as can be, prefixes of none other, and probabilities that sum to one."""

import heapq
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array

from iconlearn.supervisory import Cooccurrence
from iconlearn.supervisory.sequences._huffman import HuffmanTree

rng = np.random.default_rng(0)
FREQUENCIES = rng.zipf(1.4, 40).astype(float)


def shortest(frequencies):
    """The least mean length of codes: every merge adds a digit to all that it joins."""
    heap = list(frequencies)
    heapq.heapify(heap)
    total = 0.0
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        total += both
        heapq.heappush(heap, both)
    return total / sum(frequencies)


@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_codes_are_as_short_as_can_be(n):
    tree, f = HuffmanTree(FREQUENCIES[:n]), FREQUENCIES[:n]
    lengths = tree.code_lengths
    assert (f @ lengths) / f.sum() == pytest.approx(shortest(f))
    assert np.sum(2.0**-lengths) == pytest.approx(
        1
    )  # Kraft: no code is the beginning of another, and none is wasted
    order = np.argsort(f)
    assert (np.diff(lengths[order]) <= 0)[np.diff(f[order]) > 0].all(), (
        "a more frequent word has no longer code"
    )


def test_code_lengths_are_gensim_s():
    models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    lines = [[f"w{k}" for k in range(40) for _ in range(int(FREQUENCIES[k]) % 97 + k)]]
    theirs = models.Word2Vec(
        lines, hs=1, negative=0, min_count=1, sample=0, vector_size=2, epochs=1, workers=1
    ).wv
    counts = np.array([theirs.get_vecattr(w, "count") for w in theirs.index_to_key], dtype=float)
    lengths = np.array([len(theirs.get_vecattr(w, "code")) for w in theirs.index_to_key])
    assert counts @ HuffmanTree(counts).code_lengths == pytest.approx(counts @ lengths)


def test_probabilities_sum_to_one_and_are_products_over_the_path():
    tree = HuffmanTree(FREQUENCIES)
    scores = rng.normal(size=(5, 39)) * 3
    log_p = tree.log_probabilities(scores)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, atol=5e-15)
    for word in (0, 11, 39):
        node, product = 2 * 40 - 2, np.ones(5)  # down from the root
        while node >= 40:
            left, right = tree.children[node - 40]
            below = [word in words_below(tree, child) for child in (left, right)]
            assert sum(below) == 1
            s = scores[:, node - 40]
            product = product / (1 + np.exp(-s if below[0] else s))
            node = left if below[0] else right
        assert node == word
        np.testing.assert_allclose(np.exp(log_p[:, word]), product, rtol=1e-12)


def words_below(tree, node):
    if node < tree.n_words:
        return {node}
    left, right = tree.children[node - tree.n_words]
    return words_below(tree, left) | words_below(tree, right)


def test_masses_are_sums_below_the_nodes():
    tree = HuffmanTree(FREQUENCIES)
    P = rng.random((6, 40)) * (rng.random((6, 40)) < 0.2)
    P[3] = 0
    below, left = tree.masses(csr_array(P))
    for node in range(39):
        under, on_left = list(words_below(tree, 40 + node)), list(words_below(tree, tree.children[node, 0]))
        np.testing.assert_allclose(below.toarray()[:, node], P[:, under].sum(axis=1))
        np.testing.assert_allclose(left.toarray()[:, node], P[:, on_left].sum(axis=1), atol=1e-15)
    np.testing.assert_array_equal(below.indices, left.indices)
    # Exactly none and exactly all, not but for rounding: their logarithms are taken.
    only_one = P[:, :1] > 0
    assert (
        set(np.unique((left.data / below.data)[left.data < 1e-12 * below.data])) <= {0.0} and only_one.any()
    )


def test_the_expected_code_is_within_a_digit_of_the_entropy():
    p = FREQUENCIES / FREQUENCIES.sum()
    entropy = -(p * np.log2(p)).sum()
    assert entropy <= p @ HuffmanTree(FREQUENCIES).code_lengths < entropy + 1


def test_words_that_never_occur_have_a_code_and_bad_frequencies_none():
    assert np.sum(2.0 ** -HuffmanTree([0, 0, 3, 1]).code_lengths) == pytest.approx(1)
    for wrong in ([1.0], [1.0, -1.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="two words or more"):
            HuffmanTree(wrong)


COUNTS = csr_array(rng.poisson(1.0, (30, 30)).astype(float))


@pytest.mark.parametrize("output", ["tree", "negative"])
def test_outputs_have_short_lists(output):
    p = Cooccurrence(output=output).fit(COUNTS, random_state=0)
    soft = Cooccurrence().fit(COUNTS).conditional_
    conditional = p.conditional_
    np.testing.assert_allclose(conditional.row_mass, soft.row_mass)
    assert conditional.shape == (30, 29 if output == "tree" else 30)
    assert (np.diff(conditional.edges.indptr) == 1).all() and not np.isnan(conditional.null).any()
    np.testing.assert_allclose(conditional.edges.data + conditional.null, 1)
    assert hasattr(p, "tree_") == (output == "tree") and not hasattr(
        p.set_params(output="softmax").fit(COUNTS), "tree_"
    )
    assert pickle.loads(pickle.dumps(p)).conditional_.shape == soft.shape
    with pytest.raises(ValueError, match="sentence_vectors"):
        Cooccurrence(output=output).fit(COUNTS).extend(COUNTS)


def test_noise_is_expected_for_few_pairs_and_drawn_for_many(monkeypatch):
    monkeypatch.setattr("iconlearn.supervisory.sequences._cooccurrence.MAX_NOISE", 10)
    total = np.zeros((30, 30))
    for seed in range(60):
        p = Cooccurrence(output="negative", discount=0.75).fit(COUNTS, random_state=seed).conditional_
        found = p.lists()
        total[p.rows[found.i], found.j] += (1 - p.edges.data) * p.weights / 60
    monkeypatch.undo()
    p = Cooccurrence(output="negative", discount=0.75).fit(COUNTS).conditional_
    exact = np.zeros((30, 30))
    exact[p.rows, p.edges.indices] = (1 - p.edges.data) * p.weights
    f = np.asarray(COUNTS.sum(axis=0)) ** 0.75
    np.testing.assert_allclose(exact, np.broadcast_to(5 * f / f.sum(), (30, 30)), rtol=1e-9)
    np.testing.assert_allclose(total.sum(axis=1), 5)
    assert np.abs(total - exact).mean() < 0.15 * exact.mean()


def test_the_slope_vanishes_where_a_score_is_the_log_ratio_of_text_to_noise():
    p = Cooccurrence(output="negative", n_negatives=3).fit(COUNTS).conditional_
    with np.errstate(divide="ignore"):
        score = np.log(p.edges.data / p.null)
    on = np.isfinite(score)
    np.testing.assert_allclose(1 / (1 + np.exp(-score[on])), p.edges.data[on], atol=1e-15)


@pytest.mark.parametrize(
    ("parameters", "words"), [({"output": "trees"}, "softmax"), ({"n_negatives": 0}, "n_negatives")]
)
def test_bad_parameters(parameters, words):
    with pytest.raises(ValueError, match=words):
        Cooccurrence(**parameters).fit(COUNTS)
