"""BERTopic with a map and clusters of this library; `make test-integration` has it."""

import importlib
import inspect

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics import homogeneity_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from iconlearn import ICONClustering, ICONEmbedding, Term
from iconlearn.supervisory import Labels

bertopic = pytest.importorskip("bertopic", reason="BERTopic is not installed")
ROOMS = ("fft", "interpolate", "ndimage", "optimize", "signal", "stats")


@pytest.fixture(scope="module")
def corpus():
    """The documentation of scipy's functions, their features, and the number of their subpackage."""
    texts, rooms = [], []
    for number, room in enumerate(ROOMS):
        module = importlib.import_module(f"scipy.{room}")
        for name in module.__all__:
            text = inspect.getdoc(getattr(module, name)) or ""
            if len(text) > 400:
                texts.append(text.partition("References\n---")[0].partition("Examples\n---")[0])
                rooms.append(number)
    words = TfidfVectorizer(stop_words="english", min_df=4, max_df=0.3, sublinear_tf=True)
    X = make_pipeline(words, TruncatedSVD(50, random_state=0), Normalizer()).fit_transform(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[i] for i in order], X[order], np.array(rooms)[order]


def topics_by(umap_model, hdbscan_model, **options):
    words = options.pop("vectorizer_model", CountVectorizer(stop_words="english"))
    return bertopic.BERTopic(
        umap_model=umap_model, hdbscan_model=hdbscan_model, vectorizer_model=words, **options
    )


@pytest.fixture(scope="module")
def fitted(corpus):
    texts, X, _ = corpus
    model = topics_by(
        ICONEmbedding(5, random_state=0), ICONClustering(10, min_confidence=0.9, random_state=0)
    )
    return model, *model.fit_transform(texts[:-50], X[:-50])


def test_topics_outliers_and_probabilities(corpus, fitted):
    model, topics, probabilities = fitted
    topics = np.array(topics)
    assert homogeneity_score(corpus[2][:-50], topics) > 0.4
    assert set(topics) == set(range(-1, 10)) and 0 < (topics == -1).mean() < 0.5
    assert probabilities.shape == (len(topics), 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    sure = topics >= 0
    np.testing.assert_array_equal(probabilities.argmax(axis=1)[sure], topics[sure])
    reduced = model.reduce_outliers(
        corpus[0][:-50], list(topics), probabilities=probabilities, strategy="probabilities", threshold=0.2
    )
    np.testing.assert_array_equal(reduced, probabilities.argmax(axis=1))
    assert len(model.get_topic(0)) == 10


def test_new_texts_and_files(corpus, fitted, tmp_path):
    model, texts, X = fitted[0], corpus[0][-50:], corpus[1][-50:]
    new, _ = model.transform(texts, X)
    assert homogeneity_score(corpus[2][-50:], new) > 0.4
    model.save(str(tmp_path / "topics"), serialization="pickle")
    again, _ = bertopic.BERTopic.load(str(tmp_path / "topics")).transform(texts, X)
    np.testing.assert_array_equal(again, new)


def test_known_labels_guide_the_map(corpus):
    texts, X, rooms = corpus
    y = np.where(np.arange(len(texts)) % 2, rooms, -1)
    scores = []
    for terms in (None, [Term(Labels(unlabeled=-1), weight=0.5)]):
        model = topics_by(
            ICONEmbedding(5, terms=terms, random_state=0), ICONClustering(10, n_init=4, random_state=0)
        )
        topics, _ = model.fit_transform(texts, X, y=y)
        scores.append(homogeneity_score(rooms, topics))
    assert scores[1] > scores[0] + 0.05


def test_topics_of_a_stream(corpus):
    texts, X, rooms = corpus
    model = topics_by(
        ICONEmbedding(5, mapper="linear", random_state=0),
        ICONClustering(8, mapper="linear", random_state=0),
        vectorizer_model=bertopic.vectorizers.OnlineCountVectorizer(stop_words="english"),
    )
    found = []
    for part in np.array_split(np.arange(len(texts)), 3):
        model.partial_fit([texts[i] for i in part], X[part])
        found += model.topics_
    assert len(found) == len(texts) and len(model.get_topics()) >= 5
    assert homogeneity_score(rooms, found) > 0.3
