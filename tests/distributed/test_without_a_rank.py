"""Who is to blame where an exchange fails. The last file of the folder by its name: a process is killed here."""

import os
import re
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONEmbedding
from iconlearn.distributed import _shards, shards
from iconlearn.learned import Student
from iconlearn.supervisory import KNN

X, y = load_digits(n_class=4, return_X_y=True)
# Within which an error of one rank ends all others, which would wait for a minute.
SOON = 20.0


def ends(record):
    if record.iteration == 3:
        raise MemoryError("the disk is full")


class Unreadable(KNN):
    """Fails in the fit of p."""

    def fit(self, *args, **options):
        raise OSError("the graph cannot be read")


class Broken(Student):
    """Fails where its kernel is asked for the first time."""

    def log_kernel(self, s):
        raise ZeroDivisionError("of a kernel")


def few(callback=None):
    return ICONClassifier(max_iter=6, random_state=0, callback=callback)


def one_fails(how):
    """A fit in which rank 1 fails, caught within the block, and a further one."""
    beat, _shards.BEAT = _shards.BEAT, 0.2
    try:
        return _one_fails(how)
    finally:
        _shards.BEAT = beat


def _one_fails(how):
    begun = time.monotonic()
    with shards(timeout=60) as group:
        rows, labels = X[group.rank :: group.size], y[group.rank :: group.size]
        fails = group.rank == 1
        try:
            if how == "callback":
                few(ends if fails else None).fit(rows, labels)
            elif how == "p":
                ICONEmbedding(p=Unreadable() if fails else "knn", max_iter=3).fit(rows)
            elif how == "q":
                q = Broken() if fails else Student()
                ICONEmbedding(q=q, max_iter=3, random_state=0, engine="mesh").fit(rows)
            elif how == "new rows":
                model = ICONEmbedding(max_iter=3, random_state=0).fit(rows)
                model.transform(np.full((2, 64), np.nan) if fails else rows[:5])
            elif how == "check":
                few().fit(np.where(rows > 15, np.nan, rows) if fails else rows, labels)
            else:
                few(ends).fit(rows, labels)
        except Exception as error:
            found = error
        try:
            after = few().fit(rows, labels).loss_
        except RuntimeError as error:
            after = str(error)
    return type(found), str(found), after, time.monotonic() - begun


@pytest.mark.parametrize(
    ("how", "own", "sentence"),
    [
        ("callback", MemoryError, "the disk is full"),
        ("p", OSError, "the graph cannot be read"),
        ("q", TypeError, "of a kernel"),
        ("new rows", ValueError, "Input X contains NaN"),
    ],
)
def test_an_error_of_one_rank_soon_ends_the_others(two, how, own, sentence):
    first, second = two.results(one_fails, how)
    assert second[0] is own and sentence in second[1]
    assert first[0] is RuntimeError
    blame = f"rank 1 ended with {own.__name__}: {second[1]}"
    assert first[1] == blame
    for answer in (first, second):
        assert answer[2].startswith(blame) and answer[3] < SOON, answer


@pytest.mark.parametrize(("how", "kind"), [("check", ValueError), ("everywhere", MemoryError)])
def test_after_an_error_of_all_ranks_they_go_on(two, how, kind):
    first, second = two.results(one_fails, how)
    assert first[0] is second[0] is kind and first[2] == second[2]
    assert isinstance(first[2], float)


def fails(how):
    _shards.PATIENCE, before = 3, _shards.PATIENCE
    try:
        with shards(timeout=2 if how == "hangs" else 60) as group:
            for number in range(5):
                group.total(1.0)
                if group.rank == 1 and number == 2:
                    if how == "killed":
                        os.kill(os.getpid(), 9)
                    if how == "hangs":
                        while not group.watch.accused():
                            time.sleep(0.1)
                    else:
                        raise KeyError("rows of March")
    finally:
        _shards.PATIENCE = before


@pytest.mark.parametrize(
    ("how", "blame", "own"),
    [
        ("raises", "rank 1 ended with KeyError: 'rows of March'", KeyError),
        ("hangs", "rank 1 hangs: it has taken part in 3 exchanges", RuntimeError),
        ("killed", "rank 1 has ended", type(None)),
    ],
)
def test_a_rank_that_fails_ends_the_others_by_name(three, how, blame, own):
    begun = time.monotonic()
    first, second, third = three.run(fails, how)
    assert time.monotonic() - begun < SOON
    assert isinstance(second, own)
    for answer in (first, third):
        assert isinstance(answer, RuntimeError) and re.match(blame, str(answer)), answer
