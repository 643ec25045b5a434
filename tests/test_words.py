"""Word vectors of a fit: neighbours, analogies and sentences, on a grammar whose analogies are known."""

import itertools
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array

from iconlearn import ICONEmbedding, recipes, words

# A word has what goes with its role and what goes with its sex, and nothing else.
PAIRS = [
    ("man", "woman"),
    ("king", "queen"),
    ("prince", "princess"),
    ("boy", "girl"),
    ("father", "mother"),
    ("son", "daughter"),
]
OF_SEX = (["he", "his", "beard"], ["she", "her", "dress"])
QUESTIONS = [(*a, *b) for a, b in itertools.permutations(PAIRS, 2)]


def grammar(n_sentences, rng):
    """Sentences over 43 words."""
    lines = []
    for _ in range(n_sentences):
        role, sex = rng.integers(len(PAIRS)), rng.integers(2)
        of_role = [f"{PAIRS[role][0]}_{k}" for k in rng.choice(4, 2, replace=False)]
        line = [PAIRS[role][sex], *of_role, *rng.choice(OF_SEX[sex], 2, replace=False)]
        lines.append(["the", *map(str, rng.permutation(line))])
    return lines


LINES = grammar(3000, np.random.default_rng(0))


@pytest.fixture(scope="module")
def fits():
    found = {}

    def fit(method, output="softmax", **options):
        key = (method, output, *options.items())
        if key not in found:
            make = recipes.RECIPES[method]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[key] = make(
                    n_components=16, subsample=None, output=output, random_state=0, **options
                ).fit(LINES)
        return found[key]

    return fit


@pytest.mark.parametrize(
    ("output", "right", "divergence"), [("softmax", 29, 1e-3), ("tree", 20, 1e-3), ("negative", 30, 1e-3)]
)
def test_analogies_of_skip_gram(fits, output, right, divergence):
    model = fits("skip_gram", output)
    assert len(model.vocabulary_) == 43 and len(QUESTIONS) == 30
    assert 30 * words.analogy_accuracy(model, QUESTIONS) >= right - 0.5
    assert 0 <= model.loss_ <= divergence


def test_the_tree_s_divergence_is_that_of_its_own_softmax(fits):
    model = fits("skip_gram", "tree")
    U, V = model.embedding_.astype(float), model.column_embedding_.astype(float)
    log_q = model.p_.tree_.log_probabilities(U @ V.T)
    soft = fits("skip_gram").p_.conditional_
    P = soft.full()
    kl = np.where(P > 0, P * (np.log(np.maximum(P, 1e-300)) - log_q), 0).sum(axis=1)
    assert model.loss_ == pytest.approx(soft.row_mass @ kl, abs=1e-6)


def test_input_vectors_of_cbow_hold_the_analogies_and_output_vectors_fewer(fits):
    model = fits("cbow", max_iter=100)
    U = words.word_vectors(model)
    np.testing.assert_allclose(U, model.mapper_.weight.detach().numpy().T, rtol=1e-6)
    assert U.shape == model.column_embedding_.shape == (43, 16)
    right = words.analogy_accuracy(model, QUESTIONS)
    assert 30 * right >= 27 - 0.5
    assert accuracy_of(model.column_embedding_, model.vocabulary_) < right - 0.2


def accuracy_of(vectors, vocabulary):
    U = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = {word: k for k, word in enumerate(vocabulary)}
    right = 0
    for a, b, c, d in QUESTIONS:
        cosines = U @ (U[at[b]] - U[at[a]] + U[at[c]])
        cosines[[at[a], at[b], at[c]]] = -np.inf
        right += cosines.argmax() == at[d]
    return right / len(QUESTIONS)


def test_queen_is_king_less_man_and_woman(fits):
    model = fits("skip_gram")
    assert words.analogy(model, "man", "king", "woman")[0][0] == "queen"
    U = model.embedding_.astype(float)
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    at = {word: k for k, word in enumerate(model.vocabulary_)}
    target = U[at["king"]] - U[at["man"]] + U[at["woman"]]
    cosines = U @ target / np.linalg.norm(target)
    found = words.analogy(model, "man", "king", "woman", n=4)
    assert not {"man", "king", "woman"} & {word for word, _ in found}
    np.testing.assert_allclose([c for _, c in found], [cosines[at[w]] for w, _ in found], rtol=1e-12)
    others = [k for w, k in at.items() if w not in ("man", "king", "woman")]
    assert found[0][1] == pytest.approx(cosines[others].max())


def test_similar_words_by_hand(fits):
    model = fits("skip_gram")
    U, words_of = model.embedding_.astype(float), list(model.vocabulary_)
    found = words.most_similar(model, "she", n=5)
    k = words_of.index("she")
    cosines = U @ U[k] / np.linalg.norm(U, axis=1) / np.linalg.norm(U[k])
    order = [w for w in np.argsort(-cosines) if w != k][:5]
    assert [w for w, _ in found] == [words_of[w] for w in order]
    np.testing.assert_allclose([c for _, c in found], cosines[order], rtol=1e-12)
    assert len(words.most_similar(model, "she", n=1000)) == 42
    assert all(type(word) is str for word, _ in found)


def test_similar_words_beside_gensim(fits):
    models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    model = fits("skip_gram")
    theirs = models.KeyedVectors(16)
    theirs.add_vectors(list(model.vocabulary_), model.embedding_)
    for ours, expected in (
        (words.most_similar(model, "king"), theirs.most_similar("king")),
        (
            words.analogy(model, "man", "king", "woman", n=10),
            theirs.most_similar(positive=["king", "woman"], negative=["man"]),
        ),
    ):
        assert [w for w, _ in ours] == [w for w, _ in expected]
        np.testing.assert_allclose([c for _, c in ours], [c for _, c in expected], rtol=1e-5)


def test_sentences_are_means_of_their_words(fits):
    model = fits("skip_gram")
    U = dict(zip(model.vocabulary_, model.embedding_.astype(float), strict=True))
    sentences = [["the", "king", "the"], ["queen", "nobody", "knows"], [], ["nobody"]]
    plain = words.sentence_vectors(model, sentences, idf=False)
    np.testing.assert_allclose(plain[0], (2 * U["the"] + U["king"]) / 3, rtol=1e-6)
    np.testing.assert_allclose(plain[1], U["queen"], rtol=1e-6)
    assert not plain[2:].any()
    weights = words.inverse_document_frequencies(model, sentences)
    idf = {w: np.log(5 / (1 + (w in ("the", "king", "queen")))) + 1 for w in model.vocabulary_}
    np.testing.assert_allclose(weights, [idf[w] for w in model.vocabulary_])
    weighted = words.sentence_vectors(model, sentences)
    expected = (2 * idf["the"] * U["the"] + idf["king"] * U["king"]) / (2 * idf["the"] + idf["king"])
    np.testing.assert_allclose(weighted[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(words.sentence_vectors(model, sentences[:1], idf=weights), weighted[:1])
    both = {w: U[w] + model.column_embedding_[k] for k, w in enumerate(model.vocabulary_)}
    np.testing.assert_allclose(words.word_vectors(model, both=True), list(both.values()), rtol=1e-6)
    plain = words.sentence_vectors(model, sentences, idf=False, both=True)
    np.testing.assert_allclose(plain[0], (2 * both["the"] + both["king"]) / 3, rtol=1e-6)


@pytest.mark.parametrize("method", ["skip_gram", "cbow"])
def test_transform_reads_sentences_as_the_fit_did(fits, method):
    model = fits(method) if method == "skip_gram" else fits(method, max_iter=100)
    sentences = [["the", "king", "crown"], ["queen", "she", "she"]]
    counts = np.array([[line.count(w) for w in model.vocabulary_] for line in sentences], dtype=float)
    bags = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.transform(sentences), model.transform(bags), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.transform(np.array(sentences, dtype=object)),
        model.transform(csr_array(bags)),
        rtol=1e-5,
        atol=1e-6,
    )
    if method == "cbow":
        U = dict(zip(model.vocabulary_, words.word_vectors(model), strict=True))
        np.testing.assert_allclose(
            model.transform(sentences)[1], (U["queen"] + 2 * U["she"]) / 3, rtol=1e-4, atol=1e-5
        )


def test_sentences_need_their_words_under_the_other_outputs(fits):
    with pytest.raises(ValueError, match="sentence_vectors"):
        fits("skip_gram", "tree").transform([["the", "king"]])
    assert words.sentence_vectors(fits("skip_gram", "tree"), [["the", "king"]]).shape == (1, 16)


def test_what_cannot_be_answered_is_said_in_a_sentence(fits):
    model = fits("skip_gram")
    with pytest.raises(ValueError, match=r'not in vocabulary_, .*Did you mean "queen"'):
        words.most_similar(model, "queeen")
    with pytest.raises(ValueError, match="n="):
        words.most_similar(model, "queen", n=0)
    with pytest.raises(ValueError, match="four words"):
        words.analogy_accuracy(model, [("man", "king", "woman")])
    with pytest.raises(ValueError, match="none of the 1 questions"):
        words.analogy_accuracy(model, [("man", "king", "woman", "empress")])
    with pytest.warns(UserWarning, match="1 of 2 questions"):
        assert words.analogy_accuracy(model, [QUESTIONS[0], ("a", "b", "c", "d")]) in (0.0, 1.0)
    with pytest.raises(ValueError, match="lists of words"):
        words.sentence_vectors(model, "the king")
    with pytest.raises(ValueError, match="42 columns for 43 words; use both=False"):
        words.word_vectors(fits("skip_gram", "tree"), both=True)
    with pytest.raises(ValueError, match="43 words"):
        words.sentence_vectors(model, [["king"]], idf=np.ones(3))
    with pytest.raises(ValueError, match="word_vectors"):
        model.transform(["the king"])
    plain = ICONEmbedding(max_iter=2, random_state=0).fit(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(ValueError, match="no vocabulary_"):
        words.word_vectors(plain)


def test_vectors_are_a_copy(fits):
    model = fits("skip_gram")
    words.word_vectors(model)[:] = 0
    assert model.embedding_.any()
