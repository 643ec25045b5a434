"""Rows that choose among candidates of their own, held against torch's own losses and sums written out."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from torch.nn import functional as F

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.conditional import ListConditional
from iconlearn.divergences import KL
from iconlearn.engines import ORDER, Closed, Dense, Mesh, MiniBatch, Partition, Sampled, choose, visit_all
from iconlearn.learned import Cluster, Cosine, Dot, Gaussian, NarrowGaussian
from iconlearn.loss import loss
from iconlearn.mappers import TableModule
from iconlearn.metrics import InformationBound
from iconlearn.objective import Points, Problem
from iconlearn.supervisory import KNN, CannotLink, Choices, Debias, MustLink, Pairs, Triplets

N = 20
rng = np.random.default_rng(0)
Z = torch.tensor(rng.normal(size=(N, 3)))
TRIPLES = np.array([rng.choice(N, 3, replace=False) for _ in range(40)])
PAIRS = np.array([rng.choice(N, 2, replace=False) for _ in range(40)])
ALIKE = rng.random(40) < 0.5


def value_of(p, q, Z=Z):
    """The loss of a fitted p of rows at the places Z."""
    q.begin(dtype=torch.float64)
    points = Points(TableModule(Z), len(Z), width=Z.shape[1])
    problem = Problem(p.fit(np.zeros((len(Z), 2))).conditional_, q, KL(), points, points)
    visit = visit_all(problem, dtype=torch.float64, device="cpu")
    return loss(problem, Dense(), visit), points.mapper.places


def gradient_of(p, q):
    value, places = value_of(p, q)
    return torch.autograd.grad(value, places)[0]


DISTANCES = {
    "euclidean": lambda a, b: (a - b).norm(dim=1),
    "sqeuclidean": lambda a, b: (a - b).square().sum(1),
    "cosine": lambda a, b: 1 - F.cosine_similarity(a, b),
}


@pytest.mark.parametrize("distance", DISTANCES)
def test_triples_under_a_margin_are_the_triplet_loss_of_torch(distance):
    theirs = torch.nn.TripletMarginWithDistanceLoss(margin=0.7, distance_function=DISTANCES[distance])
    at = Z.clone().requires_grad_()
    expected = theirs(*(at[TRIPLES[:, k]] for k in range(3)))
    q = NarrowGaussian(0.7, sphere=False, distance=distance)
    assert float(value_of(Triplets(TRIPLES), q)[0].detach()) == pytest.approx(
        float(expected.detach()), abs=1e-7
    )
    slope = torch.autograd.grad(expected, at)[0]
    torch.testing.assert_close(gradient_of(Triplets(TRIPLES), q), slope, atol=1e-6, rtol=1e-6)


def test_triples_by_the_distance_are_torch_s_plain_triplet_loss():
    expected = torch.nn.TripletMarginLoss(margin=0.7)(*(Z[TRIPLES[:, k]] for k in range(3)))
    q = NarrowGaussian(0.7, sphere=False, distance="euclidean")
    # Theirs adds 1e-6 to every difference.
    assert float(value_of(Triplets(TRIPLES), q)[0].detach()) == pytest.approx(float(expected), abs=5e-6)


def test_triples_under_a_kernel_are_a_logistic_choice():
    d = DISTANCES["sqeuclidean"]
    anchor, positive, negative = (Z[TRIPLES[:, k]] for k in range(3))
    expected = F.softplus(0.5 * d(anchor, positive) - 0.5 * d(anchor, negative)).mean()
    assert float(value_of(Triplets(TRIPLES), Gaussian())[0].detach()) == pytest.approx(float(expected))


def test_pairs_under_a_margin_are_the_hinge_losses_of_torch():
    """Alike pairs have a constant margin besides, since p is then the farther of the two."""
    sign, left, right = torch.tensor(np.where(ALIKE, 1.0, -1.0)), Z[PAIRS[:, 0]], Z[PAIRS[:, 1]]
    expected = (
        torch.nn.HingeEmbeddingLoss(2.0)(DISTANCES["euclidean"](left, right), sign) + 2.0 * ALIKE.mean()
    )
    found = value_of(Pairs(PAIRS, ALIKE), NarrowGaussian(2.0, sphere=False, distance="euclidean"))[0]
    assert float(found.detach()) == pytest.approx(float(expected), abs=1e-7)
    expected = torch.nn.CosineEmbeddingLoss(0.4)(left, right, sign) + 0.6 * ALIKE.mean()
    found = value_of(Pairs(PAIRS, ALIKE), NarrowGaussian(0.6, distance="cosine"))[0]
    assert float(found.detach()) == pytest.approx(float(expected), abs=1e-7)


def test_pairs_of_inner_products_are_logistic_regression():
    scores = (Z[PAIRS[:, 0]] * Z[PAIRS[:, 1]]).sum(1)
    expected = F.binary_cross_entropy_with_logits(scores, torch.tensor(ALIKE.astype(float)))
    assert float(value_of(Pairs(PAIRS, ALIKE), Dot())[0].detach()) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_choices_are_a_cross_entropy_over_each_list():
    lists = [[(i + 1) % N, (i + 4) % N, (i + 9) % N] for i in range(N)]
    U = F.normalize(Z, dim=1)
    scores = torch.stack([U[i] @ U[lists[i]].T for i in range(N)]) / 0.2
    expected = F.cross_entropy(scores, torch.zeros(N, dtype=torch.int64))
    assert float(value_of(Choices(lists), Cosine(0.2))[0].detach()) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_rows_count_by_their_lists_and_weights():
    lists, anchors, weights = [[1, 2], [2, -1], [0, 1, 2]], [5, 3, 5], np.array([2.0, 1.0, 3.0])
    p = Choices(lists, anchors=anchors, weights=weights)
    scores = [(Z[a] @ Z[[c for c in found if c >= 0]].T) for a, found in zip(anchors, lists, strict=True)]
    scores[1] = torch.cat([scores[1], torch.zeros(1)])
    each = torch.stack([torch.logsumexp(s, 0) - s[0] for s in scores])
    expected = float((each * torch.tensor(weights)).sum() / weights.sum())
    assert float(value_of(p, Dot())[0].detach()) == pytest.approx(expected, rel=1e-12)
    assert p.conditional_.row_mass[5] == pytest.approx(5 / 6) and not p.conditional_.supported()[0]


def test_batches_of_lists_have_the_gradient_of_all_on_average():
    p = Triplets(TRIPLES).fit(np.zeros((N, 2)))
    points, q = Points(TableModule(Z), N, width=3), Gaussian()
    problem = Problem(p.conditional_, q, KL(), points, points)
    whole = gradient_of(Triplets(TRIPLES), q)
    stream = MiniBatch(6).visits(problem, rng=np.random.RandomState(0), dtype=torch.float64, device="cpu")
    for _ in range(3):
        visits = list(next(stream))
        assert len(visits) > 2
        value = sum(v.scale * loss(problem, MiniBatch(6), v) for v in visits) / len(visits)
        torch.testing.assert_close(torch.autograd.grad(value, points.mapper.places)[0], whole)


def test_a_share_is_spread_over_each_list():
    p = Debias(Pairs([(0, 1), (2, 3)], [True, False]), 0.2).fit(np.zeros((4, 2)))
    found = p.conditional_.lists()
    np.testing.assert_allclose(found.p, [0.9, 0.1, 0.1, 0.9])
    assert (
        p.conditional_.has_full_support()
        and not Pairs([(0, 1)], [1]).fit(np.zeros((2, 1))).conditional_.has_full_support()
    )


def test_engines_that_sum_over_all_columns_refuse_lists():
    points = Points(TableModule(Z), N, width=2)
    problem = Problem(Triplets(TRIPLES).fit(np.zeros((N, 2))).conditional_, Gaussian(), KL(), points, points)
    for engine in (Closed(), Mesh(), Sampled(), Partition()):
        assert engine.refuses(problem)
    assert isinstance(choose([problem]), Dense) and problem.n_pairs == 2 * len(TRIPLES)
    assert all(e.refuses(problem) is None for e in ORDER if type(e).__name__ in ("Dense", "MiniBatch"))
    assert "normalize='joint'" in Dense().refuses(
        Problem(problem.p, Gaussian(normalize="joint"), KL(), points, points)
    )
    assert "80 pairs" in Dense(max_pairs=10).refuses(problem)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (Choices([]), "no candidates"),
        (Choices(None), "no candidates"),
        (Choices([[0, 1]]), "1 lists of candidates for 5 rows"),
        (Choices([[0, 1]], anchors=[0, 1]), "anchors has shape"),
        (Choices([[0, 1]], anchors=[7]), "row 7, but X has rows 0 to 4"),
        (Choices([[0]], anchors=[0]), r"candidates\[0\] = \[0\]"),
        (Choices([[0, 1], [1, 1]], anchors=[0, 2]), "list 1 of Choices is .* twice"),
        (Choices([[-1, -1]], anchors=[0]), "twice"),
        (Choices([[0, 1]], [[0.4, 0.4]], anchors=[2]), r"p\[0\] of Choices sums to 0.8"),
        (Choices([[0, 1]], [[2.0, -1.0]], anchors=[2]), "negative"),
        (Choices([[0, 1]], [[1.0]], anchors=[2]), "one number for each candidate"),
        (Choices([[0, 1]], anchors=[2], weights=[-1.0]), "weights"),
        (Triplets([(0, 1)]), "anchor, positive and negative"),
        (Triplets([(0, 1, 5)]), "row 5"),
        (Triplets([(0, 1, 1)]), "twice"),
        (Triplets(np.ones((2, 3))), "float64"),
        (Pairs([(0, 1)], [True, False]), "alike has shape"),
        (Pairs([(0, 1)], [2.0]), "alike"),
        (Pairs([(0, -1)], [True]), "twice|null candidate|-1"),
        (CannotLink([(0, 0)]), "from itself"),
        (CannotLink([(0, 9)]), "row 9"),
    ],
)
def test_bad_lists_are_refused_in_a_sentence(p, words):
    with pytest.raises(ValueError, match=words) as error:
        p.fit(np.zeros((5, 2)))
    assert len(str(error.value)) > 40


def test_a_bound_on_information_needs_all_columns():
    with pytest.raises(ValueError, match="lists of candidates"):
        InformationBound.of(Triplets(TRIPLES).fit(np.zeros((N, 2))).conditional_)


def test_new_rows_with_lists_of_a_p_of_the_users_own_are_refused():
    class Own(Triplets):
        def _extend(self, X_new, n_jobs):
            return self.conditional_

    model = ICONEmbedding(p=Own(TRIPLES), q="gaussian", max_iter=3, random_state=0).fit(Z.numpy())
    with pytest.raises(TypeError, match="by which none can be placed"):
        model.transform(Z.numpy() + 1)


def test_classes_may_be_learned_from_triples():
    X, y = load_iris(return_X_y=True)
    triples = [(i, (i + 1) % 50 + i // 50 * 50, (i + 60) % 150) for i in range(150)]
    q = Gaussian()
    model = ICONClassifier(
        p=Triplets(triples), q=q, mapper="linear", n_components=2, max_iter=60, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.85


def test_what_is_given_is_neither_changed_nor_kept():
    triples, X = TRIPLES.copy(), rng.normal(size=(N, 2))
    p = Triplets(triples)
    model = ICONEmbedding(p=p, q="gaussian", max_iter=3, random_state=0).fit(X)
    np.testing.assert_array_equal(triples, TRIPLES)
    triples[:] = 0
    assert not hasattr(p, "conditional_") and model.p_.conditional_.edges.nnz == 2 * len(TRIPLES)
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again.p_.conditional_, ListConditional) and again.loss_ == model.loss_
    assert clone(p, safe=False).triples is not None
    with pytest.raises(ValueError, match="says nothing about new rows"):
        model.transform(X + 1)


def test_a_map_of_triples_keeps_their_order():
    """A table by triples alone: three clusters whose members are told by comparisons, never by features."""
    y = np.arange(60) % 3
    draws = np.random.default_rng(1)
    triples = [
        (
            i,
            draws.choice(np.flatnonzero((y == y[i]) & (np.arange(60) != i))),
            draws.choice(np.flatnonzero(y != y[i])),
        )
        for i in range(60)
        for _ in range(8)
    ]
    model = ICONEmbedding(p=Triplets(triples), q="student", init="random", random_state=0).fit(
        np.zeros((60, 1))
    )
    assert model.loss_history_[-1] < 0.5 * model.loss_history_[0]
    D = np.linalg.norm(model.embedding_[:, None] - model.embedding_, axis=2)
    np.fill_diagonal(D, np.inf)
    assert (y[D.argmin(1)] == y).mean() > 0.9


@pytest.mark.parametrize("mapper", ["table", "linear"])
def test_rows_that_must_not_share_a_cluster_do_not(mapper):
    """Links across a boundary that neighbours do not see: a part of iris is cut in two."""
    X, y = load_iris(return_X_y=True)
    X, y = (X[50:] - X[50:].mean(0)) / X[50:].std(0), y[50:]
    rate = {"table": "auto", "linear": 0.1}[mapper]
    model = ICONClustering(2, p=KNN(10), mapper=mapper, learning_rate=rate, random_state=0)
    before = model.fit(X).labels_
    confused = np.array([(i, j) for i in range(50) for j in range(50, 100) if before[i] == before[j]])
    pairs = confused[:: max(1, len(confused) // 200)]
    linked = clone(model).set_params(terms=[Term(CannotLink(pairs), weight=2.0)]).fit(X)
    broken = np.mean(linked.labels_[pairs[:, 0]] == linked.labels_[pairs[:, 1]])
    assert broken < 0.35  # some of them lie among rows of the other kind, which no line parts
    right = lambda labels: max(np.mean(labels == y - 1), np.mean(labels != y - 1))  # noqa: E731
    assert right(linked.labels_) > right(before)


def test_links_move_rows_out_of_the_middle_of_a_cluster():
    """Where clusters lie far apart assignments are certain, and steps have to begin with some doubt."""
    X, y = make_blobs(90, centers=[[0, 0], [30, 0], [0, 30]], random_state=0)
    same = np.flatnonzero(y == 0)
    pairs = np.array([(i, j) for i in same[:2] for j in same[10:14]])
    model = ICONClustering(3, p=KNN(8), terms=[Term(CannotLink(pairs), weight=2.0)], random_state=0)
    labels = model.fit(X).labels_
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    assert np.mean(labels[same] == np.bincount(labels[same]).argmax()) > 0.8


def test_contradictory_triples_of_a_table_do_not_run_away():
    model = ICONEmbedding(p=Triplets(TRIPLES), q="gaussian", max_iter=50, random_state=0).fit(Z.numpy())
    assert model.loss_history_[-1] < 1.2 * min(model.loss_history_) + 0.05


def test_a_link_that_holds_costs_nothing_and_a_broken_one_log_two():
    r = torch.log(torch.tensor([[1.0, 1e-12], [1.0, 1e-12], [1e-12, 1.0]], dtype=torch.float64))
    q = Cluster(balance=1.0)
    assert float(value_of(CannotLink([(0, 1)]), q, r)[0].detach()) == pytest.approx(np.log(2), rel=1e-6)
    assert float(value_of(CannotLink([(0, 2)]), q, r)[0].detach()) == pytest.approx(0, abs=1e-6)


def test_links_of_both_kinds_beside_each_other():
    X, y = load_digits(return_X_y=True)
    X, y = X[y < 3][:150], y[y < 3][:150]
    model = ICONClustering(
        3, terms=[Term(MustLink([(0, 10), (1, 11)]), weight=0.1), Term(CannotLink([(0, 1), (1, 2)]), weight=0.1)],
        random_state=0,
    ).fit(X)  # fmt: skip
    assert type(model.engine_) is Dense and model.loss_parts_.shape[1] == 3
    assert len(set(model.labels_[:3])) == 3
    assert (
        ICONClustering("auto", terms=[Term(CannotLink([(0, 1)]), weight=0.1)], random_state=0)
        .fit(X)
        .n_clusters_
        >= 2
    )
    with pytest.raises(ValueError, match="lists of candidates"):
        ICONClustering("auto", p=CannotLink([(0, 1)]), random_state=0).fit(X)
