"""Frames and Series of polars, where it is installed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes

pl = pytest.importorskip("polars")

rng = np.random.default_rng(0)
X = np.r_[rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) + 6]
Y = np.repeat(["far", "near"], 30)
FRAME = pl.DataFrame({name: X[:, i] for i, name in enumerate("abc")})
SINGLE = FRAME.cast(pl.Float32)
MODELS = {
    "map": ICONEmbedding(max_iter=5, random_state=0),
    "clusters": ICONClustering(2, n_init=2, random_state=0),
    "classes": ICONClassifier(max_iter=50, random_state=0),
}
each = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@each
def test_frames_are_rows_with_names(model):
    by_array = model.fit(X, Y).transform(X)
    model.fit(FRAME, pl.Series(Y))
    assert_array_equal(model.transform(FRAME), by_array)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="same order"):
        model.transform(FRAME.select("b", "a", "c"))


@each
def test_frames_come_out(model):
    from sklearn.base import clone

    shown = clone(model).set_output(transform="polars").fit(FRAME, pl.Series(Y))
    out = shown.transform(FRAME)
    assert isinstance(out, pl.DataFrame) and out.columns == shown.get_feature_names_out().tolist()
    assert_array_equal(out.to_numpy(), model.fit(X, Y).transform(X))


@each
def test_single_precision_stays(model):
    outputs = model.fit(SINGLE, pl.Series(Y)).transform(SINGLE)
    assert outputs.dtype == np.float32
    assert_array_equal(outputs, model.fit(X.astype(np.float32), Y).transform(X.astype(np.float32)))
    assert model.transform(SINGLE.with_columns(pl.col("a").cast(pl.Float64))).dtype == np.float64


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["far", "near"])])
def test_labels(kind):
    labels = pl.Series("y", Y).cast(kind)
    model = ICONClassifier(max_iter=50, random_state=0).fit(
        FRAME, labels, sample_weight=pl.Series(np.ones(60))
    )
    assert model.classes_.tolist() == ["far", "near"] and model.score(FRAME, labels) == 1
    some = pl.Series("y", [label if i % 5 == 0 else None for i, label in enumerate(Y)]).cast(kind)
    few = ICONClassifier(mapper="table", unlabeled=float("nan"), random_state=0).fit(FRAME, some)
    assert_array_equal(few.predict(FRAME), Y)
    with pytest.raises(ValueError, match="48 missing labels"):
        ICONClassifier().fit(FRAME, some)
    supervised = ICONEmbedding(terms=[Term("labels")], max_iter=5, random_state=0)
    assert_allclose(supervised.fit(FRAME, labels).loss_, supervised.fit(X, Y).loss_)


def test_words():
    sentences = [["a", "b", "c", "a"], ["b", "c", "a", "b"]] * 5
    model = recipes.skip_gram(n_components=2).set_params(max_iter=2, random_state=0)
    places = model.fit(sentences).embedding_
    assert_array_equal(model.fit(pl.Series(sentences)).embedding_, places)
    with pytest.raises(ValueError, match="whole texts"):
        model.fit(pl.Series(["a b c", "b c a"]))


@each
def test_what_has_no_rows_of_numbers_is_named(model):
    with pytest.raises(TypeError, match=r"X is a LazyFrame, .* X.collect\(\)"):
        model.fit(FRAME.lazy(), Y)
    with pytest.raises(ValueError, match="'x' in row 0, column 'd'"):
        model.fit(FRAME.with_columns(pl.lit("x").alias("d")), Y)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(
            FRAME.with_columns(pl.when(pl.col("a") > 1).then(None).otherwise(pl.col("a")).alias("a")), Y
        )
