"""Views, pairs and co-occurrence: their rows by definition, and the named losses that they make."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from reference import FLOAT64, assert_slopes, evaluate, places, unit
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch.nn import functional as F

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.divergences import KL
from iconlearn.engines import Dense, MiniBatch, Partition
from iconlearn.learned import Cluster, Cosine, Dot, Student
from iconlearn.loss import loss
from iconlearn.mappers import EMA, Linear, TableModule
from iconlearn.objective import Points, Problem
from iconlearn.supervisory import KNN, Cooccurrence, Debias, Labels, Paired, Views
from iconlearn.supervisory.sequences import _cooccurrence

DIGITS, LABELS = load_digits(return_X_y=True)
X = DIGITS[:200] / 16
N = 12


def table(Z):
    return Points(TableModule(torch.as_tensor(Z, dtype=torch.float64)), len(Z))


def problem_of(p, q, rows, columns=None, weight=1.0):
    q.begin(dtype=torch.float64)
    rows = table(rows)
    return Problem(p, q, KL(), rows, rows if columns is None else table(columns), weight)


def nt_xent(Z, temperature, k=2):
    """Each view against all others, its row's other views the positives; from logits, with torch's own."""
    u = F.normalize(torch.as_tensor(Z))
    logits = (u @ u.T / temperature).fill_diagonal_(-torch.inf)
    n, total = len(Z) // k, 0.0
    for shift in range(1, k):
        target = (torch.arange(len(Z)) + shift * n) % len(Z)
        total = total + F.cross_entropy(logits, target)
    return float(total / (k - 1))


# --- views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3])
def test_views_are_nt_xent(k):
    p, Z = Views(n_views=k).fit(X[:N]).conditional_, places(k * N, 5)
    problem = problem_of(p, Cosine(0.3), Z)
    assert evaluate(problem)[0] + np.log(k - 1) == pytest.approx(nt_xent(Z, 0.3, k), abs=1e-12)
    batch = evaluate(problem, MiniBatch(100))
    np.testing.assert_allclose(batch[1][0], evaluate(problem)[1][0], atol=1e-14)
    assert_slopes(problem)


def test_a_batch_brings_whole_families():
    p = Views().fit(X).conditional_
    problem = problem_of(p, Cosine(), places(400, 3))
    epoch = next(MiniBatch(64).visits(problem, rng=np.random.RandomState(0), **FLOAT64))
    for visit in epoch:
        rows = visit.rows.numpy()
        assert set(rows) == set((rows + 200) % 400)
        u = F.normalize(problem.rows.at(visit.rows).detach()).numpy()
        order = np.argsort(rows)
        assert float(loss(problem, MiniBatch(), visit)) == pytest.approx(nt_xent(u[order], 0.1), abs=1e-10)


def test_cross_views_have_the_other_set_for_candidates():
    p = Views(cross=True).fit(X[:N]).conditional_
    queries, keys = places(N, 4, seed=1), places(N, 4, seed=2)
    ours = evaluate(problem_of(p, Cosine(0.2), queries, keys))[0]
    logits = torch.as_tensor(unit(queries) @ unit(keys).T / 0.2)
    assert ours == pytest.approx(float(F.cross_entropy(logits, torch.arange(N))), abs=1e-12)


@pytest.mark.parametrize("augment", ["noise", "mask", "mix"])
def test_augmentations_do_what_they_say(augment):
    data = torch.as_tensor(X)
    views = Views(augment, strength=0.5).fit(X)
    torch.manual_seed(0)
    one, two = views.view(data), views.view(data)
    assert one.shape == data.shape and one.dtype == data.dtype and not torch.equal(one, two)
    assert torch.equal(Views(augment, strength=0.0).fit(X).view(data), data)
    if augment == "noise":
        gap, spread = (one - data).std(0), torch.as_tensor(X.std(axis=0))
        torch.testing.assert_close(gap, 0.5 * spread, rtol=0.25, atol=1e-3)
    if augment == "mask":
        changed = one != data
        mean = torch.as_tensor(X.mean(axis=0)).expand_as(data)
        torch.testing.assert_close(one[changed], mean[changed])
        assert 0.45 < float((one == mean).double().mean()) < 0.65
    if augment == "mix":
        low, high = data.min(0).values, data.max(0).values
        assert ((one >= low - 1e-12) & (one <= high + 1e-12)).all()
        assert float((one - data).abs().mean()) < 0.5 * float((data - data[torch.randperm(200)]).abs().mean())


def test_the_strength_is_without_effect_on_a_function():
    p = Views(lambda rows: rows + 1, strength=2).fit(X)
    assert torch.equal(p.view(torch.zeros(3, 2)), torch.ones(3, 2))


@pytest.mark.parametrize("augment", ["noise", "mask"])
def test_views_of_sparse_rows_know_the_same_moments(augment):
    rows = np.round(np.random.default_rng(0).normal(size=(30, 4)))
    made = []
    for X in (rows, csr_array(rows)):
        p = Views(augment, strength=0.5).fit(X)
        torch.manual_seed(0)
        made.append(p.view(torch.as_tensor(rows)).numpy())
    np.testing.assert_allclose(*made, atol=1e-12)
    assert not np.allclose(made[0], rows)


def test_a_function_makes_the_views_and_the_mapper_may_read_pictures():
    class Pictures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Unflatten(1, (1, 8, 8)),
                torch.nn.Conv2d(1, 4, 3),
                torch.nn.Flatten(),
                torch.nn.Linear(144, 4),
            )

        def forward(self, x):
            return self.net(x.flatten(1))

    def flip(x):
        pictures = x.view(-1, 1, 8, 8)
        return torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, pictures.flip(3), pictures)

    model = ICONEmbedding(4, p=Views(flip), q="cosine", mapper=Pictures(), max_iter=5, random_state=0)
    model.fit(X.astype(np.float32))
    assert model.loss_history_[-1] < model.loss_history_[0]
    assert model.transform(X[:3].astype(np.float32)).shape == (3, 4)


def encoder(**options):
    defaults = {"p": Views(strength=0.5), "q": Cosine(0.2), "mapper": "mlp", "max_iter": 8, "random_state": 0}
    return ICONEmbedding(**{"n_components": 8, **defaults, **options})


def test_a_contrastive_fit_is_a_transformer_before_a_classifier():
    X, y = DIGITS[:700] / 16, LABELS[:700]
    model = encoder(p=Views(strength=1.0), engine=MiniBatch(128), n_components=16)
    pipe = make_pipeline(model, LogisticRegression(max_iter=1000)).fit(X[:500], y[:500])
    assert pipe.score(X[500:], y[500:]) > 0.7
    assert np.array_equal(pipe[0].transform(X[:500]), pipe[0].embedding_)


def test_a_contrastive_fit_tells_its_epochs(capsys):
    model = encoder(engine=MiniBatch(64), verbose=2, max_iter=4).fit(X)
    told = [line for line in capsys.readouterr().out.splitlines() if "main" in line]
    assert [line.split()[2] for line in told] == ["1/4:", "2/4:", "3/4:", "4/4:"]
    for line, value in zip(told, model.loss_history_, strict=True):
        assert f"loss {value:.6g}," in line and "left" in line


def test_stages_go_on_from_each_other_and_frozen_parts_stay():
    """The stages of t-SimCNE: many outputs, a head of two on the network as it is, then both."""
    options = {"augment": "noise", "strength": 0.5, "random_state": 0}
    wide = recipes.t_simclr(n_components=8, max_iter=4, **options).fit(X).mapper_
    last = torch.nn.Linear(256, 2).to(next(wide.parameters()))
    network = torch.nn.Sequential(*wide[:-1].requires_grad_(False), last)
    before = [parameter.clone() for parameter in network.parameters()]
    head = recipes.t_simcne(mapper=network, max_iter=8, learning_rate=0.05, **options).fit(X)
    *frozen, weight, bias = head.mapper_.parameters()
    for old, new in zip(before, frozen, strict=False):
        assert torch.equal(old, new) and not new.requires_grad
    assert not torch.equal(before[-2], weight) and not torch.equal(before[-1], bias)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)), (
        "a copy is trained"
    )
    both = recipes.t_simcne(
        mapper=head.mapper_.requires_grad_(True), max_iter=8, learning_rate=0.003, **options
    )
    both.fit(X)
    assert not torch.equal(before[0], next(both.mapper_.parameters()))
    assert both.loss_history_[0] < head.loss_history_[0], "it begins where the head ended"
    assert both.loss_history_[-1] < head.loss_history_[-1]


def test_seeds_decide_the_views_and_torch_s_state_is_left_alone():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = encoder().fit(X)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    np.testing.assert_array_equal(encoder().fit(X).embedding_, first.embedding_)
    assert not np.array_equal(encoder(random_state=1).fit(X).embedding_, first.embedding_)
    kept = X.copy()
    encoder().fit(X)
    np.testing.assert_array_equal(X, kept)


def test_views_are_fresh_at_every_step():
    seen = []

    def remember(x):
        seen.append(x + torch.randn_like(x))
        return seen[-1]

    encoder(p=Views(remember), max_iter=3).fit(X)
    assert len(seen) >= 3 and not torch.equal(seen[0], seen[1])


def test_a_dataset_is_its_array():
    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, i):
            return torch.as_tensor(X[i]).view(8, 8), LABELS[i]

    np.testing.assert_array_equal(encoder().fit(Pictures()).embedding_, encoder().fit(X).embedding_)
    assert encoder().fit(X).transform(Pictures()).shape == (200, 8)


def test_debiased_views_and_a_second_term():
    plain = encoder().fit(X)
    shared = encoder(debias=0.3).fit(X)
    assert not np.array_equal(plain.embedding_, shared.embedding_)
    both = encoder(terms=[Term(KNN(5), weight=0.5)]).fit(X)
    assert both.loss_parts_.shape == (8, 2)
    assert (both.loss_parts_[-1] < both.loss_parts_[0]).all()


def test_clusters_of_views():
    model = ICONClustering(
        10, p=Views(strength=0.3), mapper="linear", terms=[Term(KNN(10))], max_iter=10, random_state=0
    ).fit(X)
    assert model.predict(X).shape == (200,) and model.loss_ < model.loss_history_[0] + 1e-9
    alone = ICONClustering(5, p=Views(strength=0.1), mapper="mlp", max_iter=5, random_state=0).fit(X)
    assert np.isfinite(alone.probabilities_).all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mapper": "table"}, ValueError, "place for every view"),
        ({"engine": "dense"}, ValueError, "minibatch"),
        ({"p": Views("blur")}, ValueError, "augment"),
        ({"p": Views(strength=-1)}, ValueError, "strength"),
        ({"p": Views("mask", strength=2)}, ValueError, "strength"),
        ({"p": Views(n_views=1)}, ValueError, "n_views"),
        ({"p": Views(n_views=3, cross=True)}, ValueError, "n_views"),
        ({"p": Views(lambda x: x[:1])}, ValueError, "one view for every row"),
        ({"p": Views(lambda x: x * torch.nan)}, ValueError, "holds NaN"),
        ({"mapper": "ema"}, ValueError, "column_mapper only"),
        ({"p": Views(cross=True), "column_mapper": EMA(1.5)}, ValueError, "momentum"),
    ],
)
def test_bad_views_say_so_and_leave_the_estimator_alone(options, error, words):
    model = encoder(**options)
    with pytest.raises(error, match=words):
        model.fit(X)
    assert not [name for name in vars(model) if name.endswith("_")]


# --- teachers ------------------------------------------------------------------------------------


def test_a_teacher_follows_by_its_momentum():
    torch.manual_seed(0)
    student = torch.nn.Linear(3, 2)
    teacher = EMA(0.9).follow(student)
    start = student.weight.detach().clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    teacher.step()
    torch.testing.assert_close(teacher.copy.weight, start + 0.1)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert len(list(teacher.parameters())) == 2


def test_moco_keys_come_from_a_teacher():
    model = encoder(p=Views(cross=True), column_mapper=EMA(0.9)).fit(X)
    keys, queries = model.transform_columns(X), model.transform(X)
    assert keys.shape == queries.shape and not np.allclose(keys, queries, atol=1e-3)
    np.testing.assert_array_equal(keys, model.column_embedding_)
    at_once = encoder(p=Views(cross=True), column_mapper=EMA(0.0)).fit(X)
    slow = encoder(p=Views(cross=True), column_mapper=EMA(0.99)).fit(X)
    gaps = [np.abs(m.transform_columns(X) - m.transform(X)).mean() for m in (at_once, slow)]
    assert gaps[0] < gaps[1]
    shared = encoder(p=Views(cross=True)).fit(X)
    np.testing.assert_array_equal(shared.transform_columns(X), shared.transform(X))
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.transform_columns(X), keys)
    nested = clone(model).set_params(column_mapper__momentum=0.5)
    assert nested.column_mapper.momentum == 0.5
    assert (
        clone(encoder(column_mapper="ema")).set_params(column_mapper__momentum=0.2).column_mapper.momentum
        == 0.2
    )


def test_remembered_cluster_sizes():
    q, Z = Cluster(mass_momentum=0.8), torch.as_tensor(places(20, 3))
    q.begin(dtype=torch.float64)
    first = q.place(Z[:10], columns=True)
    r = torch.softmax(Z[:10], 1)
    torch.testing.assert_close(first, r / r.sum(0))
    r = torch.softmax(Z[10:], 1)
    share = 0.8 * torch.softmax(Z[:10], 1).mean(0) + 0.2 * r.mean(0)
    torch.testing.assert_close(q.place(Z[10:], columns=True), r / (10 * share))
    with torch.no_grad():
        torch.testing.assert_close(q.place(Z[10:], columns=True), r / r.sum(0))
    with pytest.raises(ValueError, match="mass_momentum"):
        Cluster(mass_momentum=1.0).begin()
    p = KNN(3).fit(X).conditional_.with_self_pairs()
    refusal = Partition().refuses(problem_of(p, Cluster(mass_momentum=0.5), places(200, 3)))
    assert "minibatch" in refusal
    fits = [
        ICONClustering(
            4, mapper="linear", q=Cluster(mass_momentum=m), engine=MiniBatch(64), max_iter=5, random_state=0
        )
        for m in (0.0, 0.9)
    ]
    assert not np.array_equal(*(fit.fit(X).probabilities_ for fit in fits))


# --- pairs ---------------------------------------------------------------------------------------


def clip(**options):
    defaults = {
        "p": Paired(32),
        "terms": [Term(Paired(32, ends=(1, 0)))],
        "q": Cosine(0.1),
        "mapper": "linear",
        "random_state": 0,
        "optimizer": "adam",
        "max_iter": 60,
    }
    return ICONEmbedding(6, **{**defaults, **options})


def by_hand(U, V, temperature):
    """Both directions of CLIP's loss, summed."""
    logits = torch.as_tensor(unit(U) @ unit(V).T / temperature)
    target = torch.arange(len(U))
    return float(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def test_two_directions_are_clip():
    U, V = places(N, 4, seed=1), places(N, 4, seed=2)
    p = Paired(32).fit(X[:N]).conditional_
    there, back = problem_of(p, Cosine(0.2), U, V), problem_of(p, Cosine(0.2), V, U)
    assert evaluate(there)[0] + evaluate(back)[0] == pytest.approx(by_hand(U, V, 0.2), abs=1e-12)
    assert_slopes(there)
    np.testing.assert_allclose(evaluate(there, MiniBatch(50))[1][1], evaluate(there)[1][1], atol=1e-14)


def test_a_clip_fit_has_clip_s_loss_and_finds_partners_it_has_not_seen():
    model = clip(max_iter=300).fit(X)
    U, V = model.transform(X), model.transform_columns(X)
    assert model.loss_ == pytest.approx(by_hand(U, V, 0.1), rel=1e-6)
    np.testing.assert_array_equal(V, model.column_embedding_)
    new = DIGITS[200:300] / 16
    similar = model.transform(new) @ model.transform_columns(new).T
    own = np.diagonal(similar)[:, None]
    assert np.median((similar > own).sum(axis=1)) < 25  # chance is 49.5
    warm = clip(q=Cosine(0.5, learnable=True)).fit(X)
    assert warm.q_.temperature_ < 0.4


def test_each_end_has_a_mapper_of_its_own():
    model = clip(p=Paired(20), terms=None, column_mapper="mlp").fit(X)
    assert model.mapper_.weight.shape == (6, 20) and not hasattr(model.column_mapper_, "weight")
    assert model.n_features_in_ == 64 and model.column_embedding_.shape == (200, 6)
    three = clip(
        p=Paired([10, 30]),
        terms=[Term(Paired([10, 30], ends=ends)) for ends in ((1, 0), (0, 2), (2, 0), (1, 2), (2, 1))],
    ).fit(X)
    assert three.loss_parts_.shape[1] == 6 and (three.loss_parts_[-1] < three.loss_parts_[0]).all()
    with pytest.raises(ValueError, match="other features"):
        clip(column_mapper="ema").fit(X)


def test_listed_pairs():
    pairs = [[0, 1], [1, 2], [0, 1], [5, 4]]
    with pytest.warns(UserWarning, match="carry no weight"):
        p = Paired(pairs=pairs).fit(X[:N]).conditional_
    expected = np.zeros((N, N))
    expected[[0, 2, 4, 5], [1, 1, 5, 4]] = 1
    expected[1, [0, 2]] = 0.5
    np.testing.assert_array_equal(p.edges.toarray(), expected)
    assert p.row_mass[3] == 0 and p.row_mass[1] == pytest.approx(0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ICONEmbedding(2, p=Paired(pairs=pairs), mapper="linear", max_iter=5, random_state=0).fit(X)
    assert np.isfinite(model.embedding_).all()


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (Paired(), "split"),
        (Paired(0), "split=0"),
        (Paired(64), "split=64"),
        (Paired(3.5), "split=3.5"),
        (Paired([30, 20]), "increasing"),
        (Paired(32, ends=(0, 2)), "ends"),
        (Paired(32, ends=(1, 1)), "ends"),
        (Paired(pairs=[[0, 1, 2]]), "shape"),
        (Paired(pairs=[[0, 200]]), "out of range"),
        (Paired(pairs=[[-1, 3]]), "out of range"),
        (Paired(pairs=[[3, 3]]), "itself"),
        (Paired(pairs=[[0.5, 1.0]]), "whole numbers"),
        (Paired(32, pairs=[[0, 1]]), "not both"),
    ],
)
def test_wrong_pairs_are_named(p, words):
    with pytest.raises(ValueError, match=words):
        clip(p=p, terms=None).fit(X)


def test_a_table_cannot_read_features():
    with pytest.raises(ValueError, match="mapper"):
        clip(mapper="table", terms=None).fit(X)
    with pytest.raises(ValueError, match="columns are not mapped"):
        ICONEmbedding(2, max_iter=2).fit(X).transform_columns(X)


# --- co-occurrence -------------------------------------------------------------------------------

SENTENCES = [
    ["the", "cat", "sat", "on", "the", "mat"],
    ["the", "dog", "sat", "on", "the", "rug"],
    ["a", "cat", "and", "a", "dog"],
    ["alone"],
    [],
]


def count_by_hand(words, window, dynamic):
    index = {w: i for i, w in enumerate(words)}
    C = np.zeros((len(words), len(words)))
    for sentence in SENTENCES:
        codes = [index[t] for t in sentence if t in index]
        for a in range(len(codes)):
            for b in range(max(0, a - window), min(len(codes), a + window + 1)):
                if a != b:
                    C[codes[a], codes[b]] += (window + 1 - abs(a - b)) / window if dynamic else 1
    return C


@pytest.mark.parametrize(("window", "dynamic", "min_count"), [(1, True, 1), (2, False, 1), (3, True, 2)])
def test_counts_by_hand(window, dynamic, min_count):
    p = Cooccurrence(window, dynamic=dynamic, min_count=min_count)
    counts, _, words = p.prepare(SENTENCES)
    np.testing.assert_allclose(counts.toarray(), count_by_hand(words, window, dynamic))
    assert words[0] == "the" and ("alone" in words) == (min_count == 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conditional = p.fit(counts).conditional_
    C = counts.toarray()
    filled = C.sum(axis=1) > 0
    np.testing.assert_allclose(
        conditional.edges.toarray()[filled],
        (C / np.maximum(C.sum(1), 1)[:, None])[filled]
        * (np.maximum(C.sum(1), 1) / np.where(filled, C.sum(1), 1))[filled][:, None],
    )
    np.testing.assert_allclose(conditional.row_mass, C.sum(axis=1) / C.sum())


def test_frequent_words_are_thinned_as_word2vec_does():
    C = count_by_hand(["the", "cat", "sat", "on", "mat"], 2, False)
    t, f = 0.05, C.sum(axis=1) / C.sum()
    keep = np.minimum(1, np.sqrt(t / f) + t / f)
    expected = C * keep[:, None] * keep
    p = Cooccurrence(subsample=t).fit(C).conditional_
    np.testing.assert_allclose(p.row_mass, expected.sum(axis=1) / expected.sum())
    np.testing.assert_allclose(p.edges.toarray(), expected / expected.sum(axis=1, keepdims=True))
    assert keep.min() < 1


def test_the_contexts_own_frequency_is_taken_off():
    C = count_by_hand(["the", "cat", "sat", "on", "mat"], 2, False)
    for discount in (0.0, 0.75, 1.0):
        p = Cooccurrence(discount=discount).fit(C).conditional_
        expected = C / C.sum(axis=0) ** discount
        np.testing.assert_allclose(p.edges.toarray(), expected / expected.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(p.row_mass, C.sum(axis=1) / C.sum())
    # At 1 a row is in proportion to exp(PMI), PMI = log p(w, c) / p(w) p(c).
    joint = C / C.sum()
    ratio = joint / joint.sum(axis=1, keepdims=True) / joint.sum(axis=0)
    np.testing.assert_allclose(p.edges.toarray(), ratio / ratio.sum(axis=1, keepdims=True))


def test_new_words_are_weighed_as_the_old_ones():
    C = count_by_hand(["the", "cat", "sat", "on", "mat"], 2, False)
    p = Cooccurrence(subsample=0.05, discount=0.75).fit(C)
    np.testing.assert_allclose(p.extend(C).edges.toarray(), p.conditional_.edges.toarray())
    C = np.hstack([C, np.zeros((len(C), 1))])
    new = Cooccurrence(discount=0.75).fit(C).extend(np.ones((1, C.shape[1]))).edges.toarray()
    assert new[0, -1] == 0 and new.sum() == pytest.approx(1)


def test_skip_gram_is_its_cross_entropy():
    counts, _, words = Cooccurrence(2).prepare(SENTENCES[:3])
    p, C = Cooccurrence(2).fit(counts).conditional_, counts.toarray()
    U, V = places(len(words), 4, seed=1), places(len(words), 4, seed=2)
    problem = problem_of(p, Dot(), U, V)
    log_q = torch.log_softmax(torch.as_tensor(U @ V.T), 1).numpy()
    assert evaluate(problem)[0] + problem.entropy() == pytest.approx(-(C * log_q).sum() / C.sum(), abs=1e-12)


def test_cbow_is_its_cross_entropy():
    p = Cooccurrence(2, mode="cbow", dynamic=False)
    bags, centres, words = p.prepare(SENTENCES)
    index = {w: i for i, w in enumerate(words)}
    k = 0
    for sentence in SENTENCES[:3]:
        for a, word in enumerate(sentence):
            around = [index[t] for t in sentence[max(0, a - 2) : a] + sentence[a + 1 : a + 3]]
            np.testing.assert_allclose(
                bags.toarray()[k], np.bincount(around, minlength=len(words)) / len(around)
            )
            assert words[centres[k]] == word
            k += 1
    assert k == len(centres) == bags.shape[0]
    model = ICONEmbedding(
        3, p=p, q="dot", mapper=Linear(bias=False), init="random", max_iter=100, random_state=0
    )
    model.fit(SENTENCES)
    logits = model.embedding_ @ model.column_embedding_.T
    assert model.loss_ == pytest.approx(
        float(F.cross_entropy(torch.as_tensor(logits), torch.as_tensor(centres))), rel=1e-4
    )
    assert model.loss_ < 1.5 < np.log(len(words))
    np.testing.assert_array_equal(model.vocabulary_, words)


def test_skip_gram_from_tokens_and_from_counts():
    model = ICONEmbedding(3, p=Cooccurrence(2), q="dot", optimizer="adam", max_iter=300, random_state=0)
    model.fit(SENTENCES[:3])
    assert model.embedding_.shape == (9, 3) == model.column_embedding_.shape
    assert model.loss_ < 0.3 * model.loss_history_[0]
    counts, _, words = Cooccurrence(2).prepare(SENTENCES[:3])
    again = clone(model).fit(counts)
    assert again.loss_ == pytest.approx(model.loss_, rel=1e-6) and not hasattr(again, "vocabulary_")
    np.testing.assert_array_equal(model.vocabulary_, words)
    placed = model.transform(counts[:2].multiply(2.0).tocsr())
    assert np.isfinite(placed).all()
    # A word of the same company is placed where its company puts it.
    gaps = np.linalg.norm(placed[:, None] - model.embedding_, axis=2)
    assert (gaps.argmin(axis=1) == [0, 1]).all()


def object_array(rows):
    out = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        out[i] = row
    return out


SAME_WORDS = {
    "Series": lambda rows: pd.Series(rows, index=range(7, 7 + len(rows))),
    "array of objects": object_array,
    "list of arrays": lambda rows: [np.array(row) for row in rows],
    "Series of arrays": lambda rows: pd.Series([np.array(row, dtype=object) for row in rows]),
    "tuple of Series": lambda rows: tuple(pd.Series(row, dtype=object) for row in rows),
}


@pytest.mark.filterwarnings("ignore:1 of 10 rows have no count")
@pytest.mark.parametrize("form", SAME_WORDS)
def test_sentences_may_be_columns_of_tables_and_arrays(form):
    model = ICONEmbedding(2, p=Cooccurrence(2), max_iter=3, random_state=0).fit(SENTENCES)
    again = clone(model).fit(SAME_WORDS[form](SENTENCES))
    np.testing.assert_array_equal(again.vocabulary_, model.vocabulary_)
    np.testing.assert_array_equal(again.embedding_, model.embedding_)


@pytest.mark.parametrize("dtype", [str, object])
def test_sentences_of_one_length_may_be_one_array(dtype):
    model = ICONEmbedding(2, p=Cooccurrence(1), max_iter=3, random_state=0)
    rows = [["a", "b", "c"], ["b", "c", "d"], ["d", "a", "b"]]
    expected = clone(model).fit(rows).embedding_
    np.testing.assert_array_equal(model.fit(np.array(rows, dtype=dtype)).embedding_, expected)


@pytest.mark.filterwarnings("ignore:1 of 10 rows have no count")
def test_words_that_are_not_read_are_told():
    model = ICONEmbedding(2, p=Cooccurrence(2), max_iter=3, random_state=0).fit(SENTENCES)
    for words in (["the", "cat"], pd.Series(["the cat", "the mat"])):
        for ask in (model.transform, model.score):
            with pytest.raises(
                ValueError, match=r"counts over the \d+ words of vocabulary_; vectors of the words"
            ):
                ask(words)
    # Sentences are: those of any kind that fit reads.
    for sentences in (SENTENCES, pd.Series(SENTENCES)):
        assert model.transform(sentences).shape == (len(SENTENCES), 2) and np.isfinite(model.score(sentences))
    with pytest.raises(ValueError, match="row 2 of X is None and no list of words"):
        model.fit([*SENTENCES[:2], None])
    for texts in (
        ["the cat", "the mat"],
        pd.Series(["the cat", "the mat"]),
        np.array(["the cat", "the mat"]),
    ):
        with pytest.raises(ValueError, match="X holds whole texts"):
            model.fit(texts)


def test_negatives_are_drawn_by_their_frequency():
    rng = np.random.default_rng(0)
    C = rng.poisson(0.05, (300, 300)) * 1.0
    C[:, 0] += 5
    C[:, 200:] = 0
    C[np.arange(300), rng.integers(1, 150, 300)] += 1
    p = Cooccurrence().fit(C).conditional_
    problem = problem_of(p, Dot(), places(300, 2), places(300, 2, seed=2))

    def columns(n_negatives):
        engine = MiniBatch(40, n_negatives=n_negatives)
        return [v.cols.numpy() for v in next(engine.visits(problem, rng=np.random.RandomState(0), **FLOAT64))]

    few, many = columns(0), columns(100)
    assert np.mean([len(c) for c in many]) > np.mean([len(c) for c in few]) + 20
    assert max(c.max() for c in many) < 200  # what never occurs is never drawn
    with pytest.raises(ValueError, match="n_negatives"):
        MiniBatch(n_negatives=-1).refuses(problem)


def test_empty_rows_carry_no_mass():
    C = np.ones((4, 4))
    C[2] = 0
    with pytest.warns(UserWarning, match="carry no weight"):
        p = Cooccurrence().fit(C).conditional_
    assert p.row_mass[2] == 0
    with pytest.warns(UserWarning):
        model = ICONEmbedding(2, p=Cooccurrence(), q="dot", init="random", max_iter=20, random_state=0).fit(C)
    assert np.isfinite(model.embedding_).all()


@pytest.mark.parametrize(
    ("p", "X", "words"),
    [
        (Cooccurrence(0), SENTENCES, "window"),
        (Cooccurrence(mode="glove"), SENTENCES, "mode"),
        (Cooccurrence(min_count=9), SENTENCES, "min_count"),
        (Cooccurrence(subsample=-1.0), SENTENCES, "subsample"),
        (Cooccurrence(discount=1.5), SENTENCES, "discount"),
        (Cooccurrence(), [["a"], ["b"]], "window"),
        (Cooccurrence(), ["a b c", "b c"], "whole texts.*split"),
        (Cooccurrence(), -np.ones((3, 3)), "negative"),
        (Cooccurrence(), np.zeros((3, 3)), "any count"),
        (Cooccurrence(mode="cbow"), np.ones((3, 3)), "tokens|requires y"),
    ],
)
def test_wrong_counts_are_named(p, X, words):
    with pytest.raises(ValueError, match=words):
        ICONEmbedding(2, p=p, q="dot", mapper="linear").fit(X)


# --- further rules -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("augment", "words"),
    [
        (lambda rows: rows[:, :2], r"cannot read the views of p=.*of shape \(2, 2\)"),
        (lambda rows: rows.sum(1), r"cannot read the views of p=.*of shape \(2,\)"),
        (lambda rows: (9 * rows).long(), "type torch.int64"),
        (lambda rows: rows * np.nan, "holds NaN"),
    ],
)
@pytest.mark.parametrize("cross", [False, True])
def test_views_that_the_mapper_cannot_read_are_named(augment, words, cross):
    state = torch.random.get_rng_state()
    with pytest.raises(ValueError, match=words):
        ICONEmbedding(2, p=Views(augment, cross=cross), mapper="linear", random_state=0).fit(X)
    assert torch.equal(state, torch.random.get_rng_state())


def test_trying_a_view_leaves_running_means_alone():
    seen = []

    class Watched(torch.nn.BatchNorm1d):
        def forward(self, rows):
            seen.append((self.training, len(rows)))
            return super().forward(rows)

    module = torch.nn.Sequential(Watched(X.shape[1]), torch.nn.Linear(X.shape[1], 2))
    ICONEmbedding(2, p=Views(), mapper=module, max_iter=2, random_state=0).fit(X.astype(np.float32))
    assert all(n > 2 for training, n in seen if training) and any(training for training, _ in seen)


def test_a_view_in_another_precision_is_read_in_that_of_the_rows():
    def rounded(rows):
        return rows.float()

    model = ICONEmbedding(2, p=Views(rounded), mapper="linear", max_iter=3, random_state=0).fit(X)
    assert X.dtype == np.float64 and np.isfinite(model.embedding_).all()


def test_a_batch_without_positives_is_passed_over():
    Y = np.arange(200) % 100
    for n_positives in (0, 1):
        engine = MiniBatch(16, n_positives=n_positives)
        model = ICONEmbedding(2, p="labels", mapper="linear", engine=engine, max_iter=5, random_state=0).fit(
            X, Y
        )
        assert np.isfinite(model.embedding_).all() and np.isfinite(model.loss_history_).all()
    with pytest.raises(ValueError, match="batch_size"):
        ICONEmbedding(2, p="labels", mapper="linear", engine=MiniBatch(2, n_positives=0), random_state=0).fit(
            X[[*range(99), 0]], [*range(99), 0]
        )


def test_class_mates_come_along():
    p = Labels().fit(X, np.arange(200) % 50).conditional_
    rows = np.arange(200)
    mates = p.block.draw(rows, np.random.RandomState(0))
    assert (mates % 50 == rows % 50).all() and (mates != rows).all()
    drawn = np.array([p.block.draw(rows[:50], np.random.RandomState(s)) for s in range(60)])
    assert all(set(drawn[:, i]) == {i + 50, i + 100, i + 150} for i in range(50))
    single = Labels(self_pairs=True).fit(X, np.arange(200)).conditional_
    np.testing.assert_array_equal(single.block.draw(rows, np.random.RandomState(0)), rows)


def test_classes_of_one_carry_no_mass_and_labels_must_be_there():
    y = np.array([0] * 100 + [1] * 99 + [2])
    with pytest.warns(UserWarning, match="carry no weight"):
        model = ICONEmbedding(2, p="labels", q="cosine", mapper="linear", max_iter=5, random_state=0).fit(
            X, y
        )
    assert np.isfinite(model.embedding_).all()
    with pytest.raises(ValueError, match="y"):
        ICONEmbedding(2, p="labels").fit(X)
    with pytest.raises(ValueError, match="y"):
        ICONClassifier().fit(X, None)


def test_one_long_word_takes_its_own_room_only(monkeypatch):
    rng = np.random.default_rng(0)
    sentences = [[f"w{j}" for j in rng.integers(0, 200, 20)] for _ in range(1000)]
    plain = Cooccurrence(2).prepare(sentences)
    sentences[0][0] = sentences[0][1] = "x" * 20_000
    tracemalloc.start()
    counts, _, words = Cooccurrence(2).prepare(sentences)
    assert tracemalloc.get_traced_memory()[1] < 5e7  # 1.6e9 where all tokens are as wide
    tracemalloc.stop()
    assert max(map(len, words)) == 20_000 and counts.shape == (201, 201)
    assert plain[2].dtype.kind == "U"
    monkeypatch.setattr(_cooccurrence, "MAX_PADDED", 100)
    assert Cooccurrence(2).prepare(sentences)[2].dtype == object


def test_the_vocabulary_is_by_frequency_and_then_by_name():
    tokens = [["b", "a", "c", "b", "d"], ["c", 1, None, "b\0"]]
    counts, _, words = Cooccurrence(1).prepare(tokens)
    flat = [str(t) for row in tokens for t in row]
    assert list(words[:2]) == ["b", "c"] and len(words) == len(set(flat)) == counts.shape[0]


def test_wrapped_p_keep_what_they_know():
    views = Debias(Views(), 0.2).fit(X)
    assert views.copies == 2 and views.fresh and views.view(torch.as_tensor(X)).shape == X.shape
    assert Debias(Paired(32)).features(64) == (slice(0, 32), slice(32, 64))
    assert not hasattr(Debias(KNN(3)), "prepare") and not hasattr(Debias(KNN(3)), "features")
    tokens = ICONEmbedding(
        2, p=Cooccurrence(2), q="dot", init="random", debias=0.1, max_iter=5, random_state=0
    )
    assert tokens.fit(SENTENCES[:3]).embedding_.shape == (9, 2)
    assert Dense().refuses(problem_of(KNN(3).fit(X).conditional_, Student(), places(200, 2))) is None
