"""scikit-learn's own callbacks: told of fits, optimisations and steps; may stop; are always let go."""

import runpy
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, load, recipes, save
from iconlearn.estimators import _embedding, _monitoring
from iconlearn.initialization import _coarse

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9 or newer")

X, y = make_blobs(60, n_features=4, centers=3, random_state=0)

FITS = {
    "map": ICONEmbedding(max_iter=20, random_state=0),
    "line search": ICONEmbedding(mapper="linear", max_iter=30, random_state=0),
    "clusters": ICONClustering(3, n_init=2, max_iter=20, random_state=0),
    "clusters by a head": ICONClustering(3, mapper="linear", n_init=2, max_iter=5, random_state=0),
    "k-means": recipes.k_means(n_clusters=3, random_state=0),
    "classes": ICONClassifier(max_iter=30, random_state=0),
}
each = pytest.mark.parametrize("name", FITS)


class Heard:
    """Writes down what it is told; stops after so many steps."""

    def __init__(self, stop_after=None):
        self.stop_after, self.told = stop_after, []

    def setup(self, estimator, context):
        self.told.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context):
        self.told.append(f"end {context.task_name}")
        return self.stop_after is not None and self.told.count("end main") >= self.stop_after

    def teardown(self, estimator, context):
        self.told.append("teardown")


@each
def test_each_step_is_told(name):
    heard = Heard()
    fit = clone(FITS[name]).set_callbacks(heard).fit(X, y)
    assert heard.told[:2] == ["setup", "begin fit"] and heard.told[-2:] == ["end fit", "teardown"]
    assert heard.told.count("begin optimisation") == heard.told.count("end optimisation") >= 1
    for phase in np.unique(fit.loss_phases_):
        assert heard.told.count(f"end {phase}") == (fit.loss_phases_ == phase).sum()
    assert not [key for key in vars(fit) if "callback" in key and key not in ("callback", "_skl_callbacks")]
    plain = clone(FITS[name]).fit(X, y)
    assert plain.loss_ == fit.loss_


def test_it_may_stop_the_fit():
    fit = ICONEmbedding(early_exaggeration=1, random_state=0).set_callbacks(Heard(stop_after=4)).fit(X)
    assert fit.n_iter_ == 4 and not fit.converged_


@each
def test_it_is_let_go_when_a_fit_fails(name):
    def fail(record):
        raise ZeroDivisionError

    heard = Heard()
    fit = clone(FITS[name]).set_params(callback=fail).set_callbacks(heard)
    before = dict(vars(fit))
    with pytest.raises(ZeroDivisionError):
        fit.fit(X, y)
    assert heard.told[-1] == "teardown" and "end fit" not in heard.told
    assert vars(fit) == before


def test_older_versions_of_scikit_learn_have_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    older = runpy.run_path(_monitoring.__file__)
    assert older["with_callbacks"](print) is print
    assert not hasattr(older["CallbackSupportMixin"], "set_callbacks")
    with older["observed"](ICONEmbedding(), X, y), older["optimisation_observed"](ICONEmbedding(), 5) as told:
        assert told is None


def test_a_saved_fit_leaves_them_out(tmp_path):
    fit = clone(FITS["classes"]).set_callbacks(Heard()).fit(X, y)
    save(fit, tmp_path / "file")
    assert not hasattr(load(tmp_path / "file"), "_skl_callbacks")


def test_a_coarse_start_is_no_fit_of_its_own(monkeypatch):
    monkeypatch.setattr(_embedding, "LARGE", 50)
    monkeypatch.setattr(_coarse, "SHARE", 2)
    heard = Heard()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ICONEmbedding(max_iter=10, random_state=0).set_callbacks(heard).fit(X)
    assert heard.told.count("begin fit") == heard.told.count("setup") == 1


def test_a_progress_bar_shows_a_search(capsys):
    pytest.importorskip("rich", reason="ProgressBar needs rich")
    GridSearchCV(FITS["classes"], {"C": [1, 2]}, cv=2).set_callbacks(callback.ProgressBar()).fit(X, y)
    out = capsys.readouterr().out
    assert "ICONClassifier - fit" in out and "optimisation" in out
