"""Fits over two and three processes are those of one process with all rows; what is not known there is refused."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iconlearn import Checkpoint, ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.distributed import shards
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine
from iconlearn.mappers import EMA, MLP
from iconlearn.supervisory import Paired, Views

ON_THE_CPU = pytest.mark.cpu(
    reason="the processes of this folder compute on the CPU, as does the fit that they are compared with"
)

X, y = load_digits(n_class=4, return_X_y=True)
X, y = X[:150, 8:40] / 16, y[:150].astype(str)
WEIGHT = np.random.RandomState(0).rand(150)
SMALL = MLP((12,))
BATCHES = {"engine": MiniBatch(40), "max_iter": 3, "random_state": 0}


class Fixed(Views):
    """Views that are not drawn: the row, and the row with its features turned."""

    def view(self, X, rows=None):
        second = (rows >= self.conditional_.n_rows // 2)[:, None]
        return torch.where(second, X.roll(1, 1), X)


def classifier(**params):
    return ICONClassifier(random_state=0, **params)


def encoder(p, **params):
    return ICONEmbedding(3, p=p, mapper=SMALL, **BATCHES, **params)


ALIKE = {
    "logistic": lambda: classifier(),
    "weighted": lambda: classifier(class_weight="balanced", debias=0.1, C=0.5),
    "prototypes": lambda: classifier(q="gaussian", n_components=2, engine="dense", max_iter=20),
    "batches": lambda: ICONClassifier(mapper=SMALL, **BATCHES),
    "class mates": lambda: ICONClassifier(p="labels", q="cosine", n_components=3, mapper=SMALL, **BATCHES),
    "simclr": lambda: encoder(Fixed(), q=Cosine(temperature=0.2)),
    "keys": lambda: encoder(Views("mask", strength=0.0, cross=True), q="cosine"),
    "teacher": lambda: encoder(
        Views("mask", strength=0.0, cross=True), q="cosine", column_mapper=EMA(momentum=0.5)
    ),
    "clip": lambda: encoder(
        Paired(16), q=Cosine(temperature=0.2, learnable=True), terms=[Term(Paired(ends=(1, 0)))]
    ),
    "linear pairs": lambda: ICONEmbedding(
        2, p=Paired(16), q="cosine", mapper="linear", engine="dense", max_iter=8, random_state=0
    ),
    "heads": lambda: ICONClustering(4, p=Fixed(), mapper=SMALL, **BATCHES),
}


def fitted(name, own):
    """What all processes know after a fit, and what each knows of its own rows."""
    model = ALIKE[name]()
    weight = {"sample_weight": WEIGHT[own]} if name == "weighted" else {}
    model.fit(X[own], y[own], **weight)
    answers = model.predict_proba(X) if hasattr(model, "predict_proba") else model.transform(X)
    of_own = getattr(model, "embedding_", getattr(model, "labels_", y[own]))
    return answers, model.loss_history_, model.loss_, model.entropy_, of_own


def streamed(own):
    model = ICONClustering(4, mapper=SMALL, max_iter=5, random_state=0)
    for start in range(0, 2):
        model.partial_fit(X[own][start::2])
    few = classifier(mapper="linear", engine=MiniBatch(10**6))
    for start in range(0, 2):
        few.partial_fit(X[own][start::2], y[own][start::2], classes=np.unique(y))
    return model.predict_proba(X), model.loss_history_, few.predict_proba(X)


def rows_of(group, ends):
    return slice(ends[group.rank], ends[group.rank + 1])


def every_fit(ends):
    with shards() as group:
        own = rows_of(group, ends)
        found, sent = {}, {}
        for name in ALIKE:
            before = group.traffic.copy()
            found[name] = fitted(name, own)
            sent[name] = group.traffic - before
        return found, streamed(own), sent


@ON_THE_CPU
@pytest.mark.filterwarnings("ignore")
def test_fits_are_those_of_one_process(two):
    ends = [0, 50, 150]
    every = two.results(every_fit, ends)
    for name in ALIKE:
        answers, history, loss, entropy, _ = fitted(name, slice(None))
        for rank, (found, _, _) in enumerate(every):
            got = found[name]
            np.testing.assert_allclose(got[1][0], history[0], rtol=1e-12, err_msg=name)
            np.testing.assert_allclose(got[0], answers, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(got[2:4], (loss, entropy), rtol=1e-6, err_msg=name)
            assert len(got[4]) == ends[rank + 1] - ends[rank]
    answers, history, few = streamed(slice(None))
    for _, (got, losses, got_few), sent in every:
        # Three epochs of four batches: gradients, the loss and its one term; of 300 views a batch has 20 and pairs.
        steps, learned = 12, (32 + 1) * 12 + (12 + 1) * 4
        assert sent["batches"]["add_up"] == steps * (learned + 2) * 8
        assert sent["batches"]["joined"] == 0 < sent["simclr"]["joined"] <= 3 * 15 * 40 * 3 * 8
        np.testing.assert_allclose(got, answers, atol=1e-6)
        np.testing.assert_allclose(losses, history, rtol=1e-6)
        np.testing.assert_allclose(got_few, few, atol=1e-6)


def refused(name, ends):
    with shards() as group:
        own = rows_of(group, ends)
        mine, labels, model = X[own], y[own], classifier()
        if group.rank == 1:
            mine = {"empty": mine[:0], "columns": mine[:, 1:], "dtype": mine.astype(np.float32)}.get(
                name, mine
            )
            labels = labels[: len(mine)]
        if name == "gap" and group.rank == 1:
            mine = np.where(np.arange(len(mine))[:, None] == 3, np.nan, mine)
        weight = {"sample_weight": WEIGHT[own]} if name == "weights" and group.rank == 1 else {}
        model = {
            "table": ICONEmbedding(p="labels"),
            "neighbours": ICONEmbedding(mapper="linear"),
            "clusters": ICONClustering(4, mapper="linear"),
            "held out": classifier(early_stopping=True),
            "graph": classifier(unlabeled="0"),
            "norm": ICONClassifier(
                mapper=torch.nn.Sequential(torch.nn.Linear(32, 4), torch.nn.BatchNorm1d(4))
            ),
            "engine": ICONEmbedding(p=Paired(16), mapper="linear", engine="closed"),
        }.get(name, model)
        try:
            model.fit(mine, labels, **weight)
        except (ValueError, TypeError) as error:
            return str(error)


def every_refusal(ends):
    return {name: refused(name, ends) for name in REFUSED}


REFUSED = {
    "empty": "rank 1: Found array with 0 sample",
    "gap": "rank 1: Input X contains NaN",
    "columns": "rows of 32 features in float64, and that of rank 1 has rows of 31 features",
    "dtype": "that of rank 1 has rows of 32 features in float32",
    "weights": "fit of rank 0 has no sample_weight, and that of rank 1 has a sample_weight",
    "table": "mapper='table' gives every row a place of its own",
    "neighbours": "looks across rows",
    "clusters": "partial_fit with batches",
    "held out": "early_stopping=True holds rows of one process out",
    "graph": "rows without a label",
    "norm": "BatchNorm1d",
    "engine": "needs all rows in one process",
}


def test_what_is_refused_is_refused_on_every_rank_by_one_sentence(two):
    first, second = two.results(every_refusal, [0, 50, 150])
    for name, sentence in REFUSED.items():
        assert first[name] is not None and sentence in first[name], (name, first[name])
        assert second[name] == first[name]


class Fails:
    """A callback by which a fit comes to a sudden end."""

    def __call__(self, record):
        if record.iteration == 5:
            raise MemoryError


def saved(folder, fails, ends):
    with shards() as group:
        own = rows_of(group, ends)
        return resumed(folder, fails, own)


def resumed(folder, fails, own=slice(None)):
    watchers = [Checkpoint(folder, every=2), *([Fails()] if fails else [])]
    model = ICONClassifier(mapper=SMALL, engine=MiniBatch(40), max_iter=8, random_state=0, callback=watchers)
    return model.fit(X[own], y[own]).loss_history_


@ON_THE_CPU
def test_a_checkpoint_goes_on_with_any_number_of_processes(two, three, tmp_path):
    whole = resumed(tmp_path / "whole", False)
    folder = tmp_path / "fit"
    of_two, of_three = [0, 50, 150], [0, 20, 90, 150]
    for go_on in (
        lambda: two.results(saved, folder, False, of_two)[1],
        lambda: three.results(saved, folder, False, of_three)[2],
        lambda: resumed(folder, False),
    ):
        assert {type(answer) for answer in two.run(saved, folder, True, of_two)} == {MemoryError}
        assert sorted(path.name for path in folder.iterdir()) == ["begin.npz", "optimisation.npz"]
        np.testing.assert_allclose(go_on(), whole, rtol=1e-9)
        assert not folder.exists()
    with pytest.raises(MemoryError):
        resumed(folder, True)
    np.testing.assert_allclose(two.results(saved, folder, False, [0, 100, 150])[0], whole, rtol=1e-9)


def stopped_by_one(ends):
    with shards() as group:
        own = rows_of(group, ends)
        callback = (lambda record: record.iteration == 4) if group.rank == 1 else None
        model = ICONClassifier(mapper=SMALL, engine=MiniBatch(40), max_iter=9, callback=callback).fit(
            X[own], y[own]
        )
        return model.n_iter_, model.predict_proba(X)


def test_a_fit_without_a_seed_is_stopped_by_the_callback_of_one_rank_on_all(two):
    (first, answers), (second, others) = two.results(stopped_by_one, [0, 50, 150])
    assert first == second == 4
    np.testing.assert_array_equal(answers, others)
