"""Models without their training rows: small, of equal answers, and clear about what they lack."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, slim
from iconlearn.supervisory import KNN, Graph, Labels, Paired

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32) / 16
TRAIN, NEW = slice(0, 400), slice(600, 700)


def size(model):
    return len(pickle.dumps(model))


@pytest.fixture(scope="module")
def models():
    few = np.where(np.arange(400) < 80, y[TRAIN], -1)
    graph = csr_array((np.ones(400), np.arange(400)[::-1].copy(), np.arange(401)), shape=(400, 400))
    few_labels = ICONClassifier(mapper="linear", unlabeled=-1, graph=KNN(8), random_state=0)
    return {
        "linear map": ICONEmbedding(mapper="linear", max_iter=10, random_state=0).fit(X[TRAIN]),
        "network": ICONEmbedding(
            mapper="mlp",
            p=Graph(graph),
            terms=[Term(Labels()), Term(Graph(graph))],
            max_iter=2,
            random_state=0,
        ).fit(X[TRAIN], y[TRAIN]),
        "autoencoder": iconlearn.recipes.autoencoder(n_components=3, max_iter=2, random_state=0).fit(
            X[TRAIN]
        ),
        "two sides": ICONEmbedding(
            4, mapper="linear", p=Paired(split=32), q="cosine", max_iter=3, random_state=0
        ).fit(X[TRAIN]),
        "head": ICONClustering(
            10, mapper="linear", n_init=2, max_iter=5, min_confidence=0.4, random_state=0
        ).fit(X[TRAIN]),
        "classifier": ICONClassifier(random_state=0).fit(X[TRAIN], y[TRAIN]),
        "class means": ICONClassifier(p="labels", q="gaussian", max_iter=5, random_state=0).fit(
            X[TRAIN], y[TRAIN]
        ),
        "few labels": few_labels.fit(X[TRAIN], few),
    }


def answers(model, rows):
    names = ("transform", "predict", "predict_proba", "score")
    return {name: getattr(model, name)(rows) for name in names if hasattr(model, name) and name != "score"}


def test_new_rows_get_the_same_answers_from_little(models, tmp_path):
    for name, model in models.items():
        before, parameters = size(model), repr(model)
        small = slim(model)
        assert size(model) == before and repr(model) == parameters, name
        weights = sum(w.nbytes for w in model.mapper_.state_dict().values())
        assert size(small) < 1.1 * weights + 25_000 < before, name
        iconlearn.save(small, tmp_path / "small.npz")
        for other in (small, pickle.loads(pickle.dumps(small)), iconlearn.load(tmp_path / "small.npz")):
            for method, expected in answers(model, X[NEW]).items():
                # Beside its table the fit of few labels takes logarithms in double precision on the way.
                rtol = 2e-6 if name == "few labels" else 0.0
                np.testing.assert_allclose(answers(other, X[NEW])[method], expected, rtol=rtol, err_msg=name)
        assert small.loss_ == model.loss_ and small.n_iter_ == model.n_iter_
        assert dir(small) and repr(small) and small._repr_html_()


def test_what_a_slim_model_keeps_besides(models):
    codes = models["autoencoder"].transform(X[NEW])
    decoded = slim(models["autoencoder"]).inverse_transform(codes)
    np.testing.assert_array_equal(decoded, models["autoencoder"].inverse_transform(codes))
    sides = slim(models["two sides"])
    np.testing.assert_array_equal(
        sides.transform_columns(X[NEW, 32:]), models["two sides"].transform_columns(X[NEW, 32:])
    )
    by_description = sides.classifier(X[:10, 32:], y[:10])
    assert set(by_description.predict(X[NEW, :32])) <= set(range(10))
    for name, learn in {
        "head": lambda model: model.partial_fit(X[NEW]),
        "classifier": lambda model: model.partial_fit(X[NEW], y[NEW]),
        "class means": lambda model: model.partial_fit(X[NEW], y[NEW]),
    }.items():
        on, original = learn(slim(models[name])), learn(pickle.loads(pickle.dumps(models[name])))
        got, expected = on.predict_proba(X[700:800]), original.predict_proba(X[700:800])
        np.testing.assert_array_equal(got, expected, err_msg=name)


def test_what_a_slim_model_lacks_is_said(models):
    small = slim(models["head"])
    for name in ("labels_", "probabilities_", "merge_path_", "entropy_"):
        assert not hasattr(small, name) and hasattr(models["head"], name)
    with pytest.raises(AttributeError, match=r"slim model has no training rows; predict_proba\(X\)"):
        small.probabilities_  # noqa: B018
    with pytest.raises(ValueError, match="slim model has no training rows, between which"):
        slim(models["linear map"]).inverse_transform([[0.0, 0.0]])
    with pytest.raises(ValueError, match="the model is slim"):
        slim(models["classifier"]).explain(X[NEW])
    with pytest.raises(ValueError, match="model that is not slim"):
        slim(models["classifier"]).add_classes(X[NEW], y[NEW] + 10)
    assert not hasattr(slim(models["few labels"]), "transduction_")


def test_parameters_that_hold_data_have_their_defaults(models):
    small = slim(models["network"])
    assert small.p == "knn" and small.terms is None
    again = small.set_params(max_iter=1).fit(X[TRAIN])
    assert again.embedding_.shape == (400, 2)
    given = ICONEmbedding(mapper="linear", callback=lambda record: None, max_iter=2).fit(X[:50])
    assert slim(given).callback is None and given.callback is not None
    kept = ICONEmbedding(mapper="linear", p=KNN(7), terms=[Term("gaussian")], max_iter=2).fit(X[:50])
    assert slim(kept).p.n_neighbors == 7 and len(slim(kept).terms) == 1


def test_pipelines_and_what_is_refused(models):
    pipe = make_pipeline(StandardScaler(), ICONEmbedding(mapper="linear", max_iter=5, random_state=0))
    pipe.fit(X[TRAIN])
    before = size(pipe)
    small = slim(pipe)
    np.testing.assert_array_equal(small.transform(X[NEW]), pipe.transform(X[NEW]))
    assert size(small) < before / 10 and size(pipe) == before
    table = ICONEmbedding(max_iter=2).fit(X[:50])
    with pytest.raises(
        ValueError, match=r"mapper='table'.*beside the training rows, which slim would leave out"
    ):
        slim(table)
    with pytest.raises(TypeError, match="StandardScaler"):
        slim(StandardScaler())
    with pytest.raises(TypeError, match="no step of iconlearn"):
        slim(make_pipeline(StandardScaler()))
    with pytest.raises(Exception, match="not fitted"):
        slim(ICONClassifier())


def test_a_stream_goes_on_with_the_weights_of_the_fit():
    weight = np.where(y[TRAIN] < 5, 20.0, 1.0)
    whole = ICONClustering(10, mapper="linear", n_init=2, max_iter=5, random_state=0)
    whole.fit(X[TRAIN], sample_weight=weight)
    small = slim(whole)
    for model in (whole, small):
        model.partial_fit(X[NEW])
    np.testing.assert_allclose(small.predict_proba(X[NEW]), whole.predict_proba(X[NEW]), atol=1e-6)
    np.testing.assert_allclose(small.q_.mean_size_, whole.q_.mean_size_, atol=1e-6)
