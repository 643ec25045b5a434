"""What a fit tells of itself: times that are expected, and when the rest is told for the first time."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_array

from iconlearn import ICONEmbedding
from iconlearn.estimators._monitoring import FIRST, Progress, timed
from iconlearn.initialization._coarse import expected_start
from iconlearn.neighbors import expected_search
from iconlearn.optim import Record
from iconlearn.supervisory import KNN, Debias, Gaussian, Walk


@pytest.mark.parametrize("expected, words", [(None, ""), (0.2, "less than a second"), (7.3, "about 7 s")])
def test_a_stage_is_told_before_it_begins_and_after_it_ends(expected, words, capsys):
    estimator = SimpleNamespace(verbose=1, timings_={})
    with timed(estimator, "start", expected):
        before = capsys.readouterr().out
    assert words in before and ("expected" in before) == bool(words)
    assert "start: 0.0 s" in capsys.readouterr().out and estimator.timings_["start"] > 0
    estimator.verbose = 0
    with timed(estimator, "start", expected):
        pass
    assert capsys.readouterr().out == ""


def test_times_grow_with_what_there_is_to_do():
    """In proportion to the pairs of few rows, and to the rows of many."""
    assert expected_search((2000, 50)) == pytest.approx(4 * expected_search((1000, 50)))
    assert expected_search((10**6, 50)) == pytest.approx(10 * expected_search((10**5, 50)))
    assert expected_search((1000, 100)) == pytest.approx(2 * expected_search((1000, 50)))
    assert expected_start((40_000, 5), 2) < expected_start((80_000, 5), 2) < expected_start((80_000, 5), 3)


def test_what_is_left_is_told_soon(capsys):
    progress = Progress("Me", 1, 1000)
    for k in range(1, 201):
        progress(Record(k, "main", 1.0, 1.0, 0.1 * k))
    told = capsys.readouterr().out.splitlines()
    assert [line.split("/")[0].split()[-1] for line in told] == [str(FIRST), "100", "200"]
    assert "at most 99.5 s left" in told[0]


def city(a, b):
    return np.abs(a - b).sum()


@pytest.mark.parametrize("p", [KNN(5), Gaussian(5), Debias(KNN(5, metric="cosine"))])
def test_a_search_by_products_is_expected_to_take_what_it_took(p, capsys):
    X = np.random.default_rng(0).normal(size=(60, 3))
    ICONEmbedding(p=p, max_iter=2, verbose=1, random_state=0).fit(X)
    said = capsys.readouterr().out
    assert "supervision: less than a second expected" in said
    assert "start: less than a second expected" in said


@pytest.mark.parametrize(
    "p, make",
    [(KNN(5, metric="manhattan"), np.asarray), (KNN(5, metric=city), np.asarray), (KNN(5), csr_array),
     (Debias(Gaussian(5, metric=city)), np.asarray), (Walk(KNN(5), 3), np.asarray)],
)  # fmt: skip
def test_nothing_is_expected_of_what_was_not_measured(p, make, capsys):
    X = np.random.default_rng(0).normal(size=(60, 3))
    ICONEmbedding(p=p, max_iter=2, verbose=1, random_state=0).fit(make(X))
    assert "expected" not in capsys.readouterr().out


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_a_logger_that_is_set_up_gets_the_messages(level, capsys, caplog):
    X = np.random.default_rng(0).normal(size=(60, 3))
    logger = logging.getLogger("iconlearn")
    assert logger.level == logging.NOTSET and not logger.handlers
    with caplog.at_level(level, logger="iconlearn"):
        ICONEmbedding(max_iter=30, random_state=0).fit(X)  # whatever verbose is
    messages = [
        (record.levelno, record.getMessage()) for record in caplog.records if record.name == "iconlearn"
    ]
    iterations = [found for found in messages if "/30: loss" in found[1]]
    assert len([1 for found, _ in iterations if found == logging.INFO]) == 11
    assert len(iterations) == (30 if level == logging.DEBUG else 11)
    assert messages[0][1].startswith("[ICONEmbedding] supervision: ")
    assert "ended (max_iter) after 30 iterations" in messages[-1][1]
    assert capsys.readouterr().out == ""
    ICONEmbedding(max_iter=30, verbose=2, random_state=0).fit(X)  # no longer set up: printed
    assert capsys.readouterr().out.count("/30: loss") == 30
