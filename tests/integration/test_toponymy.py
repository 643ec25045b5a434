"""Toponymy with the layers and the tree of a clustering; `make test-integration` has it."""

import inspect

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from integration.pages import BLOCKS
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from iconlearn import ICONClustering

toponymy = pytest.importorskip("toponymy", reason="Toponymy is not installed")


class Vectors:
    """Texts as vectors, without a language model."""

    def __init__(self, texts):
        self.model = make_pipeline(TfidfVectorizer(min_df=2), TruncatedSVD(20, random_state=0)).fit(texts)

    def encode(self, texts, **options):
        return self.model.transform(texts).astype(np.float32)


class Names(toponymy.llm_wrappers.LLMWrapper):
    """A name for each topic, without a language model."""

    def _call_llm(self, prompt, temperature, max_tokens):
        return '{"topic_name": "images and signals", "topic_specificity": 0.5}'

    def _call_llm_with_system_prompt(self, prompt, temperature, max_tokens):
        return self._call_llm(prompt, temperature, max_tokens)


def test_topics_in_the_layers_of_a_clustering():
    modules = (scipy.ndimage, scipy.signal)
    texts = [inspect.getdoc(getattr(module, name)) or "" for module in modules for name in module.__all__]
    texts = [text[:400] for text in texts if len(text) > 100]
    vectors = Vectors(texts)
    X = vectors.encode(texts)
    page = {"__name__": "page"}
    exec(BLOCKS["toponymy"], page)
    clusterer = page["ICONClusterer"](ICONClustering(8, n_init=2, random_state=0))
    model = toponymy.Toponymy(Names(), vectors, clusterer=clusterer, verbose=False).fit(texts, X, X)
    layers = [layer.cluster_labels for layer in model.cluster_layers_]
    expected = toponymy.clustering.build_cluster_tree(layers)
    assert {k: sorted(v) for k, v in model.cluster_tree_.items()} == {
        k: sorted(v) for k, v in expected.items()
    }
    assert len(model.topic_names_) == len(layers)
    for names, labels in zip(model.topic_names_, layers, strict=True):
        assert len(names) == labels.max() + 1 and all(names)
