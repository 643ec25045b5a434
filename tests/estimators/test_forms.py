"""What people give for X, y, p, q, mapper and device: an answer, or a sentence that says what to give instead."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, eye_array
from sklearn.base import clone
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, supervisory
from iconlearn.conditional import Conditional, normalize_rows
from iconlearn.estimators._inputs import choose_device
from iconlearn.learned import Learned

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 16))
y = np.arange(30) % 3
A, B = X[:, :10], X[:, 10:]
IMAGES = X.reshape(30, 1, 4, 4).astype(np.float32)
EACH = {
    "embedding": ICONEmbedding(max_iter=3, random_state=0),
    "clustering": ICONClustering(3, n_init=1, max_iter=3, random_state=0),
    "classifier": ICONClassifier(max_iter=3),
}
each = pytest.mark.parametrize("name", EACH)


def fitted(name, rows, labels=y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return EACH[name].fit(rows, labels)


# -- X --------------------------------------------------------------------------------------------------------


class AnnData:
    __module__ = "anndata._core.anndata"


def spoiled(value):
    frame = pd.DataFrame(X.astype(object), columns=[f"c{i}" for i in range(16)])
    frame.iloc[4, 2] = value
    return frame


NO_TABLES = {
    "a loader": (DataLoader(TensorDataset(torch.tensor(IMAGES))), TypeError, "DataLoader.*X.dataset"),
    "a dict": ({"a": [1, 2], "b": [3, 4]}, TypeError, r"dict.*DataFrame\(X\)"),
    "a generator": ((row for row in X), TypeError, r"generator.*list\(X\)"),
    "an AnnData": (AnnData(), TypeError, "AnnData.*obsm"),
    "images": (IMAGES, ValueError, r"shape \(30, 1, 4, 4\).*reshape\(len\(X\), -1\).*Unflatten\(1, \(1, 4, 4\)\)"),
    "a tensor of images": (torch.tensor(IMAGES), ValueError, r"shape \(30, 1, 4, 4\).*Unflatten"),
    "a list of images": (list(IMAGES[:, 0]), ValueError, r"shape \(30, 4, 4\).*Unflatten"),
    "two modalities": ((A, B), ValueError, r"tuple of 2 tables of 10 and 6 columns.*hstack.*split=10"),
    "a list of two": ([A, csr_array(B)], ValueError, r"list of 2 tables of 10 and 6 columns.*split=10"),
    "three modalities": ((A, B, A), ValueError, r"3 tables.*split=\[10, 16\]"),
    "X and y": ((X, y), ValueError, r"fit\(X, y\)"),
    "pairs of views": ([(a, a) for a in IMAGES], ValueError, "row 0 of X is a tuple of 2 arrays.*Paired"),
    "pd.NA": (spoiled(pd.NA), ValueError, "missing value.*row 4, column 'c2'.*SimpleImputer"),
    "None": (spoiled(None), ValueError, "missing value.*row 4, column 'c2'|contains NaN"),
    "NaN": (spoiled(np.nan), ValueError, "contains NaN, in 1 of 30 rows, first in row 4, column 'c2'"),
    "NaT": (spoiled(pd.NaT), ValueError, "missing value.*row 4, column 'c2'"),
    "a string": (spoiled("blue"), ValueError, "'blue' in row 4, column 'c2'.*OneHotEncoder"),
    "a date": (spoiled(pd.Timestamp("2020-01-01")), TypeError, "2020-01-01.* in row 4, column 'c2'"),
    "Int64 with NA": (pd.DataFrame(y, dtype="Int64").where(y[:, None] > 0), ValueError, "missing value|NaN"),
    "a masked array": (np.ma.masked_array(X, mask=np.abs(X) > 2), ValueError, "NaN"),
    "masked integers": (np.ma.masked_array(np.ones((30, 16), int), mask=X > 1), ValueError, "missing|NaN"),
}  # fmt: skip


@each
@pytest.mark.parametrize("form", [form for form in NO_TABLES if form != "a generator"])
def test_what_is_no_table_is_answered_with_what_to_give(name, form):
    rows, error, match = NO_TABLES[form]
    with pytest.raises(error, match=match):
        fitted(name, rows)
    estimator = fitted(name, X)
    ask = estimator.transform if hasattr(estimator, "transform") else estimator.predict
    with pytest.raises(error, match=match):
        ask(rows)


def test_a_generator_is_answered_with_a_list():
    _, error, match = NO_TABLES["a generator"]
    with pytest.raises(error, match=match):
        fitted("embedding", (row for row in X))


class Strict:
    """An array of another library: numpy reads it, but it is none of numpy's own."""

    def __init__(self, array):
        self.array = array
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, "strict.float64"

    def __array_namespace__(self, api_version=None):
        raise AssertionError("no namespace is needed")

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)


class OnADevice(Strict):
    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion")


@each
def test_arrays_of_other_libraries(name):
    estimator = fitted(name, X)
    expected = estimator.loss_
    assert fitted(name, Strict(X), Strict(y) if name == "classifier" else None).loss_ == expected
    with pytest.raises(TypeError, match="numpy cannot read"):
        fitted(name, OnADevice(X))


def test_a_masked_array_without_masked_entries_is_its_numbers():
    assert_array_equal(
        fitted("embedding", np.ma.masked_array(X)).embedding_, fitted("embedding", X).embedding_.copy()
    )


# -- y --------------------------------------------------------------------------------------------------------

WITHOUT_ONE = {
    **{
        f"a list with {value!r}": [*y[:5].tolist(), value, *y[6:].tolist()]
        for value in (None, pd.NA, np.nan, pd.NaT)
    },
    "an array of objects": np.array([*y[:5].tolist(), pd.NA, *y[6:].tolist()], dtype=object),
    "floats": np.where(np.arange(30) == 5, np.nan, y),
    "masked": np.ma.masked_array(y, mask=np.arange(30) == 5),
    "strings": pd.Series([None if i == 5 else f"class {k}" for i, k in enumerate(y)], dtype="string"),
    "categories": pd.Series(y).where(np.arange(30) != 5).astype("category"),
    "nullable integers": pd.Series([None if i == 5 else int(k) for i, k in enumerate(y)], dtype="Int64"),
    "a tensor": torch.tensor(np.where(np.arange(30) == 5, np.nan, y)),
}


@pytest.mark.parametrize("form", WITHOUT_ONE)
def test_missing_labels_are_named_and_may_be_marked(form):
    labels = WITHOUT_ONE[form]
    with pytest.raises(ValueError, match=r"y holds 1 missing labels \(the first in row 5\).*unlabeled"):
        ICONClassifier(max_iter=3).fit(X, labels)
    marked = ICONClassifier(max_iter=3, unlabeled=np.nan).fit(X, labels)
    assert len(marked.classes_) == 3
    known = marked.score(X, labels)
    assert 0 <= known <= 1
    with pytest.raises(ValueError, match="missing labels"):
        ICONClassifier(max_iter=3).fit(X, y).score(X, labels)


def test_labels_that_no_p_reads_are_mentioned_where_stages_are_printed(capsys):
    for terms, said in [(None, True), ([iconlearn.Term("labels")], False)]:
        ICONEmbedding(max_iter=3, verbose=1, terms=terms, random_state=0).fit(X, y)
        assert ("y is not read" in capsys.readouterr().out) is said
    ICONEmbedding(max_iter=3, random_state=0).fit(X, y)
    assert capsys.readouterr().out == ""


# -- one modality ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, csr_array, torch.tensor, pd.DataFrame])
@pytest.mark.parametrize("mapper", ["linear", "mlp"])
def test_one_modality_alone(form, mapper):
    p = supervisory.Paired(split=10)
    both = ICONEmbedding(2, p=p, q="cosine", mapper=mapper, max_iter=3, random_state=0).fit(X)
    assert_array_equal(np.asarray(both.transform(form(A))), both.transform(X))
    assert_array_equal(np.asarray(both.transform_columns(form(B))), both.transform_columns(X))
    other = both.transform(np.hstack([A, np.zeros_like(B)]))
    assert_array_equal(both.transform(A), other)
    for wrong in (B[:, :3], X[:, :12]):
        with pytest.raises(ValueError, match="16 features"):
            both.transform(wrong)
    with pytest.raises(ValueError, match="NaN"):
        both.transform(np.where(A > 1, np.nan, A))


def test_one_modality_by_the_names_of_its_columns():
    frame = pd.DataFrame(X, columns=[f"image {i}" for i in range(10)] + [f"text {i}" for i in range(6)])
    p = supervisory.Paired(split=10)
    both = ICONEmbedding(2, p=p, q="cosine", mapper="linear", max_iter=3, random_state=0).fit(frame)
    assert_array_equal(both.transform(frame.iloc[:, :10]), both.transform(frame))
    assert_array_equal(both.transform_columns(frame.iloc[:, 10:]), both.transform_columns(frame))
    with pytest.raises(ValueError, match=r"columns of X are .*image 9.*fitted on"):
        both.transform(frame.iloc[:, 9::-1])


# -- mappers ---------------------------------------------------------------------------------------------------


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()


class OneArgument(nn.Module):
    def __init__(self, width=16):
        super().__init__()


@each
@pytest.mark.parametrize(
    "make", [NoArguments, OneArgument, nn.Sequential, nn.ReLU, lambda n_inputs: nn.Linear(n_inputs, 2)]
)
def test_a_class_or_function_that_makes_no_mapper(name, make):
    with pytest.raises(
        TypeError, match=r"cannot be called as .*\(16, \d\), with the numbers of inputs and outputs"
    ):
        clone(EACH[name]).set_params(mapper=make).fit(X, y)


def test_a_class_that_makes_a_mapper():
    assert ICONEmbedding(mapper=nn.Linear, max_iter=2).fit(X).embedding_.shape == (30, 2)


@pytest.mark.parametrize(
    "module, match",
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), r"16 features.*Unflatten"),
        (nn.Linear(15, 2), "cannot read rows of 16 features.*first linear layer"),
        (nn.Bilinear(16, 16, 2), "cannot read rows of 16 features"),
    ],
)
def test_a_module_that_cannot_read_the_rows(module, match):
    training = module.training
    with pytest.raises(ValueError, match=match):
        ICONEmbedding(mapper=module, max_iter=2).fit(X)
    assert module.training == training


def test_images_by_a_module_that_unflattens():
    module = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    estimator = ICONEmbedding(mapper=module, max_iter=2, random_state=0)
    flat = estimator.fit(IMAGES.reshape(30, -1)).embedding_
    assert_array_equal(estimator.fit(TensorDataset(torch.tensor(IMAGES))).embedding_, flat)


# -- p ---------------------------------------------------------------------------------------------------------

RING = np.roll(np.eye(30), 1, axis=1) + np.roll(np.eye(30), -1, axis=1)


class Own:
    """A p that does all by itself; subclasses make one mistake each."""

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        self.conditional_ = self.rows(len(X))
        return self

    def rows(self, n):
        return Conditional(normalize_rows(RING), self_pairs=False)

    def extend(self, X_new, *, n_jobs=None):
        return Conditional(normalize_rows(np.ones((len(X_new), 30))))


class OfAnArray(Own):
    def rows(self, n):
        return RING / 2


class Sparse(Own):
    def rows(self, n):
        return eye_array(n, k=1)


class OfNothing(Own):
    def rows(self, n):
        return None


class OfWeights(Own):
    def rows(self, n):
        return Conditional(csr_array(RING), self_pairs=False)


class Negative(Own):
    def rows(self, n):
        return Conditional(csr_array(2 * RING / 2 - np.roll(RING, 1, axis=0) / 2), self_pairs=False)


class Dense(Own):
    def rows(self, n):
        return Conditional(RING / 2, self_pairs=False)


class OfFewer(Own):
    def rows(self, n):
        return Conditional(normalize_rows(RING[:20, :20]), self_pairs=False)


class Silent(Own):
    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        return self


class WithoutState(Own):
    def fit(self, X, y=None):
        return super().fit(X)


class WithoutLabels(Own):
    def fit(self, X, *, random_state=None, n_jobs=None):
        return super().fit(X)


class ExtendsByAnArray(Own):
    def extend(self, X_new, *, n_jobs=None):
        return np.ones((len(X_new), 30)) / 30


class ExtendsAlone(Own):
    def extend(self, X_new):
        return super().extend(X_new)


OWN = [
    (OfAnArray, TypeError, r"conditional_ of p=.* is a ndarray.*Conditional\(normalize_rows\(A\)"),
    (Sparse, TypeError, r"conditional_ of p=.*normalize_rows"),
    (OfNothing, TypeError, "conditional_ of p=.* is None"),
    (OfWeights, ValueError, "row 0 of conditional_ .* sums to 2.*normalize_rows"),
    (Negative, ValueError, "at least 0"),
    (Dense, TypeError, "edges of type ndarray.*csr_array"),
    (OfFewer, ValueError, "20 rows, and X has 30"),
    (Silent, TypeError, "no conditional_ after fit"),
    (
        WithoutState,
        TypeError,
        r"fit of p=.*random_state.*fit\(self, X, y=None, \*, random_state=None, n_jobs=None\)",
    ),
    (WithoutLabels, TypeError, r"fit of p=.*fit\(self, X, y=None"),
]


@pytest.mark.parametrize("name", ["embedding", "clustering"])
@pytest.mark.parametrize("p, error, match", OWN)
def test_mistakes_of_an_own_p(name, p, error, match):
    estimator = clone(EACH[name])
    with pytest.raises(error, match=match):
        estimator.set_params(p=p()).fit(X)
    with pytest.raises(error, match=match):
        estimator.set_params(p=supervisory.Debias(p(), 0.2)).fit(X)
    with pytest.raises(TypeError, match=rf"p={p.__name__} is a class; give an object of it"):
        estimator.set_params(p=p).fit(X)
    assert not hasattr(estimator, "p_")


@pytest.mark.parametrize("name", ["embedding", "clustering"])
@pytest.mark.parametrize("p", [ExtendsByAnArray, ExtendsAlone])
def test_mistakes_of_an_own_p_about_new_rows(name, p):
    estimator = clone(EACH[name]).set_params(p=p()).fit(X)
    ask = estimator.transform if name == "embedding" else estimator.predict
    with pytest.raises(TypeError, match=r"extend of p=.*(Conditional|n_jobs)"):
        ask(X + 1)


@each
def test_a_p_that_is_a_function(name):
    slot = "graph" if name == "classifier" else "p"
    labels = np.where(y == 2, -5, y)
    estimator = clone(EACH[name]).set_params(**{slot: lambda rows: np.ones((30, 30))})
    if name == "classifier":
        estimator.set_params(unlabeled=-5)
    with pytest.raises(TypeError, match=r"is a function.*p=f\(X\)"):
        estimator.fit(X, labels)


# -- q ---------------------------------------------------------------------------------------------------------


class InNumpy(Learned):
    def __init__(self, normalize="row", debias=0.0):
        self.normalize, self.debias = normalize, debias

    def log_kernel(self, s):
        return -np.log1p(s)


WRONG_Q = [
    (lambda s: -np.log1p(s), TypeError, r"cannot be computed.*-torch.log1p\(s\)"),
    (lambda s: -np.log1p(s.detach().numpy()), TypeError, r"(is a ndarray|to numpy).*-torch.log1p\(s\)"),
    (lambda s: -torch.log1p(s).sum(), ValueError, r"shape \(\).*one number for each pair"),
    (lambda s: -torch.log1p(s).sum(1), ValueError, r"shape \(2,\).*one number for each pair"),
    (lambda s: -1.0, TypeError, "is a float"),
    (lambda s: None, TypeError, "is a NoneType"),
    (lambda a, b: -((a - b) ** 2), TypeError, "cannot be computed.*one tensor of scalars"),
    (lambda s: -torch.log1p(s).detach(), ValueError, "no gradient.*detach"),
    (lambda s: torch.log_softmax(-s, dim=0), ValueError, "depends on the other pairs.*softmax"),
    (InNumpy(), TypeError, r"cannot be computed.*-torch.log1p\(s\)"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("q, error, match", WRONG_Q)
def test_mistakes_of_an_own_q(q, error, match):
    for engine in ("auto", "minibatch"):
        with pytest.raises(error, match=match):
            ICONEmbedding(q=q, max_iter=3, engine=engine).fit(X)
    with pytest.raises(error, match=match):
        ICONEmbedding(max_iter=3, terms=[iconlearn.Term("knn", q=q)]).fit(X)


def test_an_own_q_that_is_right():
    own = ICONEmbedding(q=lambda s: -torch.log1p(s), max_iter=3, random_state=0, optimizer="adam").fit(X)
    named = ICONEmbedding(q="student", max_iter=3, random_state=0, optimizer="adam").fit(X)
    assert np.isfinite(own.loss_) and np.isfinite(named.loss_)


# -- the rest --------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "mps:0"])
def test_devices_that_are_not_supported(name, device):
    with pytest.raises(
        ValueError, match=rf"device='{device}' is not supported.*'cpu' and 'cuda'.*device='cpu'"
    ):
        clone(EACH[name]).set_params(device=device).fit(X, y)


def test_a_machine_with_mps_alone_computes_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 10**6) == torch.device("cpu")


def test_scorers_are_there_after_the_import():
    assert callable(iconlearn.scorers.held_out_loss)
    assert "scorers" in dir(iconlearn)
