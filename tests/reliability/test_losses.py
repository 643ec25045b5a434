"""`loss_` is the loss of the state that a fit returns, whatever the problem, engine and precision.

    L = sum_t weight_t sum_i mass_i D( p_t(.|i) || q(.|i) ) + penalty

Problems are drawn at random.  Each is fitted for a few steps, and the loss is written out beside it in double precision
from full matrices: p as the estimator has it, q from the places, assignments or prototypes that it returns.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import DIVERGENCES, sqdist, unit
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.exceptions import ConvergenceWarning

from iconlearn import (
    ICONClassifier,
    ICONClustering,
    ICONEmbedding,
    Term,
    divergences,
    learned,
    recipes,
    supervisory,
)
from iconlearn.engines import MiniBatch, Sampled
from iconlearn.mappers import MLP

FEW = settings(max_examples=25, derandomize=True)
MANY = settings(max_examples=200)


# -- the loss, written out ----------------------------------------------------------------------------------------


def written(p, q, divergence, U, V=None, *, mass=None):
    """Mean divergence of a fitted p from q over the places U (and V of the columns), from full matrices."""
    E, tied = p.sparse().toarray(), V is None
    V = U if tied else V
    on_itself = p.self_pairs or (tied and q.self_pairs)
    mask = np.ones(E.shape) if on_itself else 1.0 - np.eye(len(E))
    m = np.maximum(mask.sum(1, keepdims=True), 1)
    P = (1 - p.uniform) * E + p.uniform * mask / m
    mass = p.mass if mass is None else mass
    mass = np.where(E.sum(1) > 0, np.ones(len(E)) if mass is None else mass, 0.0)
    mass = mass / mass.sum()
    log_k = log_kernel(q, U, V, mass if p.column_weights is None else p.column_weights)
    off = np.where(mask > 0, 0.0, -np.inf)
    if isinstance(q, learned.WideGaussian):
        log_norm = (mask * log_k).sum(1, keepdims=True) / m
        return -(mass[:, None] * P * (log_k - log_norm)).sum()
    if isinstance(q, learned.NarrowGaussian):
        unsupported = (p.uniform / m >= P) if p.dense else (E == 0)
        log_norm = (log_k + off + q.margin * unsupported).max(1, keepdims=True)
        return -(mass[:, None] * P * (log_k - log_norm)).sum()
    log_k = log_k + off
    if q.normalize == "self":
        Q = mass[:, None] * ((1 - q.debias) * np.exp(log_k) + q.debias * mask / m)
    elif q.normalize == "row":
        Q = np.exp(log_k - np.logaddexp.reduce(log_k, 1)[:, None])
        Q = mass[:, None] * ((1 - q.debias) * Q + q.debias * mask / m)
    else:
        Q = (1 - q.debias) * np.exp(log_k - np.logaddexp.reduce(log_k, None)) + q.debias * mask / m / len(E)
    if isinstance(divergence, divergences.FDivergence):
        ratio = np.divide(mass[:, None] * P, Q, out=np.zeros_like(Q), where=Q > 0)
        return (Q * (ratio - 1) ** 2).sum()
    return DIVERGENCES[type(divergence).__name__](mass[:, None] * P, Q)


def log_kernel(q, U, V, weights):
    if isinstance(q, learned.Cluster):
        return np.log(np.maximum(cluster_kernel(q, U, V, weights), np.finfo(float).tiny))
    if isinstance(q, learned.WideGaussian | learned.NarrowGaussian):
        return -sqdist(unit(U), unit(V)) if q.sphere else -sqdist(U, V)
    if isinstance(q, learned.Gaussian):
        return -sqdist(U, V) / (2 * q.sigma**2)
    if isinstance(q, learned.Student):
        return -(q.dof + 1) / 2 * np.log1p(sqdist(U, V) / q.dof)
    if isinstance(q, learned.InversePower):
        return -q.power / 2 * np.log(sqdist(U, V) + q.eps)
    if isinstance(q, learned.Cosine):
        return unit(U) @ unit(V).T / q.temperature_
    if isinstance(q, learned.Dot):
        return U @ V.T / q.temperature_
    return np.log1p(sqdist(U, V)) * -2.0  # POWER


def cluster_kernel(q, r, t, weights):
    """sum_c r_ic t_jc w_j / s_c (s_c / n)^(1 - b)."""
    t = t * weights[:, None] if q.degree_weighted else t
    sizes = np.maximum(t.sum(0), np.finfo(float).tiny)
    return (r * (sizes / sizes.sum()) ** (1 - q.balance_) / sizes) @ t.T


POWER = learned.Custom(lambda s: -2.0 * torch.log1p(s))


def places_of(model, X):
    """What the mapper holds or gives, in double precision."""
    with torch.no_grad():
        table = getattr(model.mapper_, "places", None)
        Z = model.mapper_(torch.as_tensor(X, dtype=dtype_of(model))) if table is None else table
    return Z.detach().double().numpy()


def dtype_of(model):
    """In which precision the mapper was trained: on a device networks are in single precision."""
    return next(model.mapper_.parameters()).dtype


def assert_is_the_loss(model, expected, *, penalised=False, single=False):
    scale = max(abs(expected), 1e-3)
    assert abs(model.loss_ - expected) <= (1e-6 if not single else 2e-6) * scale, (
        model,
        model.loss_,
        expected,
    )
    assert not model.loss_is_estimate_
    if isinstance(model.divergence_, divergences.KL) and not penalised and model.q_.reduce == "logsumexp":
        assert model.loss_ >= -1e-9


def fitted(model, *data, **options):
    """The model after a short fit, by the engine of its choice where the one that was drawn cannot serve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return model.fit(*data, **options)
        except ValueError as error:
            if "cannot do this" not in str(error):
                raise
        return model.set_params(engine="auto").fit(*data, **options)


# -- random problems ----------------------------------------------------------------------------------------------


@st.composite
def features(draw, smallest=3, largest=400):
    n, d = draw(st.integers(smallest, 30) | st.integers(smallest, largest)), draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    X = rng.normal(size=(n, d)) + 4.0 * rng.integers(0, 3, n)[:, None]
    if draw(st.booleans()):
        X = X[rng.integers(0, max(2, n // 2), n)]  # equal rows
    return X.astype(draw(st.sampled_from([np.float64, np.float32]))), rng


def graph_with_isolated_rows(n, rng):
    A = rng.random((n, n)) * (rng.random((n, n)) < min(1.0, 6.0 / n))
    A[np.arange(n), (np.arange(n) + 1) % n] += 0.1
    A = A + A.T
    isolated = rng.random(n) < 0.2
    isolated[:3] = False
    A[isolated] = A[:, isolated] = 0.0
    np.fill_diagonal(A, 0.0)
    A[0, 1] = A[1, 0] = 0.5
    return sparse.csr_array(A)


def supervision(draw, n, rng, *, dense=True):
    """A p of n rows over the rows: neighbours, kernels, graphs with isolated rows, and what is made of these."""
    few = min(n - 1, draw(st.integers(1, 12)))
    graph = supervisory.Graph(
        graph_with_isolated_rows(n, rng), mass=draw(st.sampled_from(["uniform", "degree"]))
    )
    choices = [
        supervisory.KNN(few),
        graph,
        supervisory.Gaussian(sigma=1.0, n_neighbors=few),
        supervisory.Labels(),
    ]
    if dense:
        choices += [supervisory.Gaussian(sigma=2.0), supervisory.Student(sigma=1.0)]
    p = draw(st.sampled_from(choices))
    form = draw(st.sampled_from(["as it is", "as it is", "walk", "symmetric", "mixed", "debiased"]))
    if form == "walk":
        return supervisory.Walk(p)
    if form == "symmetric":
        return supervisory.Symmetrize(p)
    if form == "mixed":
        return supervisory.Mix([p, supervisory.KNN(few)], weights=[0.3, 0.7])
    return supervisory.Debias(p, 0.2) if form == "debiased" else p


def kernel(draw, width):
    share = draw(st.sampled_from([0.0, 0.0, 0.3]))
    how = {"normalize": draw(st.sampled_from(["row", "joint"])), "debias": share}
    choices = [
        learned.Student(draw(st.sampled_from([0.5, 1.0, 5.0])), **how),
        learned.Gaussian(**how),
        learned.InversePower(**how),
        learned.Dot(**how),
        learned.Cosine(0.5, **how),
        learned.Cosine(learnable=True, **how),
        learned.Dot(2.0, final_temperature=0.5, **how),
        learned.Custom(POWER.function, **how),
        learned.Cluster(debias=share, normalize=draw(st.sampled_from(["self", "row", "joint"]))),
        learned.WideGaussian(),
        learned.NarrowGaussian(margin=0.1),
    ]
    return draw(st.sampled_from(choices))


def divergence(draw, q, p):
    names = ["kl", "kl", "kl"]
    if q.reduce == "logsumexp":
        names += ["jensen_shannon", "hellinger", "total_variation", chi_square]
        names += ["reverse_kl"] if isinstance(p, supervisory.Debias) else []
    return draw(st.sampled_from(names))


def chi_square(t):
    return (t - 1) ** 2


def engine(draw, n):
    size = draw(st.integers(2, max(3, 2 * n)))
    return draw(st.sampled_from(["auto", "dense", "mesh", MiniBatch(size), Sampled(max(1, n // 2))]))


def term(draw, n, rng, main_divergence):
    own = (
        ["kl"] if main_divergence == "reverse_kl" else [None, "kl"]
    )  # the p here is zero for some candidates
    return Term(
        supervisory.KNN(min(n - 1, 3)),
        q=draw(st.sampled_from([None, "student", "gaussian"])),
        divergence=draw(st.sampled_from(own)),
        weight=draw(st.sampled_from([0.5, 2.0])),
    )


def of_term(term, X, main_q, main_divergence, U):
    p = term.p.fit(X).conditional_
    q = {"student": learned.Student(), "gaussian": learned.Gaussian()}.get(term.q, main_q)
    return term.weight * written(p, q, main_divergence if term.divergence is None else divergences.KL(), U)


# -- maps ---------------------------------------------------------------------------------------------------------


def check_map(draw):
    X, rng = draw(features())
    n, width = len(X), draw(st.sampled_from([1, 2, 3, 5]))
    p, q = supervision(draw, n, rng), kernel(draw, width)
    labels = rng.integers(0, 3, n)
    labels[:4] = np.array([0, 0, 1, 1])[: len(labels[:4])]
    of = divergence(draw, q, p)
    terms = [term(draw, n, rng, of)] if draw(st.booleans()) and q.reduce == "logsumexp" else None
    mapper = draw(st.sampled_from(["table", "table", "linear", MLP((8,))]))
    model = ICONEmbedding(
        width, p=p, q=q, divergence=of, mapper=mapper, engine=engine(draw, n), terms=terms,
        debias=draw(st.sampled_from([0.0, 0.0, 0.3])), max_iter=draw(st.integers(1, 8)),
        optimizer=draw(st.sampled_from(["auto", "adam"])), random_state=0,
    )  # fmt: skip
    model = fitted(model, X, labels)
    Z = U = places_of(model, X)
    assert np.isfinite(Z).all(), model
    U = np.exp(U - np.logaddexp.reduce(U, 1)[:, None]) if isinstance(q, learned.Cluster) else U
    shown = unit(U) if isinstance(q, learned.Cosine | learned.WideGaussian | learned.NarrowGaussian) else U
    np.testing.assert_allclose(model.embedding_, shown, rtol=1e-4, atol=1e-5 * np.abs(U).max())
    expected = written(model.p_.conditional_, model.q_, model.divergence_, U)
    for further in model.terms or []:
        expected += of_term(further, X, model.q_, model.divergence_, U if further.q is None else Z)
    assert_is_the_loss(
        model, expected, penalised=bool(terms), single=mapper != "table" and dtype_of(model) == torch.float32
    )


# -- clusterings --------------------------------------------------------------------------------------------------


def check_clustering(draw):
    X, rng = draw(features())
    n = len(X)
    p = supervision(draw, n, rng)
    balance = draw(st.sampled_from([1.0, 0.5, "auto"]))
    q = learned.Cluster(
        balance=balance, degree_weighted=draw(st.booleans()), debias=draw(st.sampled_from([0.0, 0.0, 0.3])),
        normalize=draw(st.sampled_from(["self", "self", "row", "joint"])),
        mass_momentum=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )  # fmt: skip
    sums_to_one = q.normalize != "self" or (balance == 1.0 and q.mass_momentum == 0)
    of = divergence(draw, q, p) if sums_to_one else "kl"
    labels = rng.integers(0, 2, n)
    labels[:4] = np.array([0, 0, 1, 1])[: len(labels[:4])]
    mapper = draw(st.sampled_from(["table", "table", "linear", MLP((8,))]))
    terms = [Term(supervisory.KNN(min(n - 1, 3)), weight=0.5)] if draw(st.booleans()) else None
    model = ICONClustering(
        draw(st.integers(1, min(n, 4))), p=p, q=q, divergence=of, mapper=mapper, terms=terms,
        engine=draw(st.sampled_from(["auto", "dense", MiniBatch(draw(st.integers(2, max(3, 2 * n))))])),
        debias=draw(st.sampled_from([0.0, 0.0, 0.3])), n_init=1, max_iter=draw(st.integers(1, 8)), random_state=0,
    )  # fmt: skip
    model = fitted(model, X, labels)
    Z = places_of(model, X)
    r = np.exp(Z - np.logaddexp.reduce(Z, 1)[:, None])
    r = r[:, np.unique(r.argmax(1))]
    r /= r.sum(1, keepdims=True)
    np.testing.assert_allclose(model.transform(X), r, rtol=1e-4, atol=1e-6)
    expected = written(model.p_.conditional_, model.q_, model.divergence_, r)
    for further in terms or []:
        expected += of_term(further, X, model.q_, model.divergence_, r)
    assert_is_the_loss(model, expected, single=mapper != "table" and dtype_of(model) == torch.float32)


# -- classifiers --------------------------------------------------------------------------------------------------


def check_classifier(draw):
    X, rng = draw(features(smallest=6))
    n, n_classes = len(X), draw(st.integers(2, 3))
    y = rng.integers(0, n_classes, n)
    y[: 2 * n_classes] = np.arange(2 * n_classes) % n_classes
    weight = None
    if draw(st.booleans()):
        weight = rng.random(n) * (rng.random(n) < 0.8)
        weight[: 2 * n_classes] = 1.0
    class_weight = draw(st.sampled_from([None, "balanced", {0: 3.0}]))
    over_pairs = draw(st.booleans())
    kernels = [learned.Cosine(0.5), learned.Gaussian(), learned.Student(), learned.InversePower()]
    q = draw(
        st.sampled_from(kernels if over_pairs else [learned.Dot(), learned.Dot(learnable=True), *kernels])
    )
    mapper = draw(st.sampled_from(["linear", "linear", MLP((8,))]))
    model = ICONClassifier(
        p="labels" if over_pairs else "classes", q=q, mapper=mapper, class_weight=class_weight,
        divergence=draw(st.sampled_from(["kl", "kl", "jensen_shannon", "total_variation"])),
        debias=draw(st.sampled_from([0.0, 0.1])), C=draw(st.sampled_from([None, 1.0])), n_components=4,
        engine=draw(st.sampled_from(["auto", "dense", MiniBatch(draw(st.integers(2, 2 * n)))])),
        early_stopping=False, max_iter=draw(st.integers(1, 8)), random_state=0,
    )  # fmt: skip
    model = fitted(model, X, y, sample_weight=weight)
    rows = np.ones(n) if weight is None else weight.copy()
    if class_weight == "balanced":
        per_class = np.bincount(y, weights=rows)
        rows = rows * (rows.sum() / (n_classes * per_class))[y]
    elif class_weight is not None:
        rows = rows * np.where(y == 0, 3.0, 1.0)
    columns = None if over_pairs else np.asarray(model.prototypes_, dtype=float)
    expected = written(
        model.p_.conditional_, model.q_, model.divergence_, places_of(model, X), columns, mass=rows
    )
    if model.C is not None:
        matrices = [w.detach().double() for w in model.mapper_.parameters() if w.ndim == 2]
        free_dot = isinstance(q, learned.Dot)
        if columns is not None and not free_dot:
            matrices.append(torch.as_tensor(columns))
        scale = (1.0 if free_dot and n_classes == 2 and not over_pairs else 0.5) / (model.C * rows.sum())
        expected += scale * sum(float(w.square().sum()) for w in matrices)
    assert_is_the_loss(
        model, expected, penalised=model.C is not None, single=dtype_of(model) == torch.float32
    )


def check_few_labels(draw):
    X, rng = draw(features(smallest=12, largest=150))
    n = len(X)
    y = np.full(n, -1)
    y[:6] = [0, 1, 0, 1, 0, 1]
    weight = rng.random(n) * (rng.random(n) < 0.8) if draw(st.booleans()) else None
    if weight is not None:
        weight[:6] = 1.0
    share = draw(st.sampled_from([0.3, 1.0]))
    graph = draw(st.sampled_from(["auto", "knn", supervisory.Graph(graph_with_isolated_rows(n, rng))]))
    model = ICONClassifier(
        mapper="table", unlabeled=-1, graph=graph, graph_weight=share, max_iter=draw(st.integers(1, 30)),
        class_prior=draw(st.sampled_from([None, "balanced"])), random_state=0,
    )  # fmt: skip
    model = fitted(model, X, y, sample_weight=weight)
    p, r = model.graph_.conditional_, places_of(model, X)
    r = np.exp(r)
    np.testing.assert_allclose(model.label_distributions_, r, rtol=1e-5, atol=1e-6)
    rows = np.ones(n) if weight is None else weight
    drawn = p.sparse().toarray() * (rows[:, None] > 0)
    part = connected_components(drawn, directed=False)[1]
    on = np.isin(part, part[:6])  # the loss is as if the others were not there
    p = replace(p.with_edges(), edges=sparse.csr_array(p.sparse()[on][:, on]), mass=None)
    expected = share * written(p, model.q_, model.divergence_, r[on], mass=rows[on])
    labelled = np.where(y[on] >= 0, rows[on], 0.0)
    if (labelled * (p.sparse().sum(axis=1) > 0)).any():
        expected += written(p, model.q_, model.divergence_, r[on], mass=labelled)
    assert_is_the_loss(model, expected)


# -- lists of candidates ------------------------------------------------------------------------------------------


def random_lists(n, rng, length):
    """Lists of `length` candidates at most, with p; -1 is the null candidate."""
    lists, p = [], []
    for _ in range(rng.integers(1, 3 * n)):
        found = rng.choice(n, rng.integers(2, min(length, n) + 1), replace=False)
        if rng.random() < 0.4:
            found[rng.integers(len(found))] = -1
        chosen = rng.random(len(found)) * (rng.random(len(found)) < 0.7)
        chosen[0] += 0.1
        lists.append(found.tolist())
        p.append(chosen / chosen.sum())
    return lists, p


def written_lists(lists, p, anchors, weights, share, q, divergence, U):
    """Mean over the lists of the divergence of each list's p from its own q."""
    null = np.zeros(len(U))
    places = unit(U) if isinstance(q, learned.NarrowGaussian) and (q.sphere or q.distance == "cosine") else U
    total = 0.0
    if isinstance(q, learned.Cluster):
        log_k_all = log_kernel(q, U, U, np.ones(len(U)))
        null = np.log((U / U.sum(0)).sum(1))
    elif isinstance(q, learned.NarrowGaussian):
        d = sqdist(places, places)
        d = {"sqeuclidean": d, "cosine": d / 2, "euclidean": np.sqrt(d)}[q.distance]
        log_k_all = -d
    else:
        log_k_all = log_kernel(q, U, U, None)
    for candidates, chosen, anchor, weight in zip(lists, p, anchors, weights / weights.sum(), strict=True):
        chosen = (1 - share) * chosen + share / len(chosen)
        log_k = np.array([null[anchor] if c == -1 else log_k_all[anchor, c] for c in candidates])
        if isinstance(q, learned.WideGaussian):
            total += weight * -(chosen * (log_k - log_k.mean())).sum()
        elif isinstance(q, learned.NarrowGaussian):
            total += weight * -(chosen * (log_k - (log_k + q.margin * (chosen == 0)).max())).sum()
        else:
            Q = (1 - q.debias) * np.exp(log_k - np.logaddexp.reduce(log_k)) + q.debias / len(chosen)
            total += weight * DIVERGENCES[type(divergence).__name__](chosen, Q)
    return total


def check_lists(draw):
    X, rng = draw(features(smallest=5, largest=40))
    n = len(X)
    lists, p = random_lists(n, rng, 4)
    anchors = rng.integers(0, n, len(lists))
    weights = rng.random(len(lists)) + 0.1
    share = draw(st.sampled_from([0.0, 0.0, 0.2]))
    debias = draw(st.sampled_from([0.0, 0.3]))
    q = draw(st.sampled_from([
        learned.Dot(debias=debias), learned.Gaussian(debias=debias), learned.Student(), learned.Cosine(0.5),
        learned.Cluster(balance=1.0), learned.WideGaussian(),
        *(learned.NarrowGaussian(0.3, sphere=on, distance=d)
          for on in (True, False) for d in ("sqeuclidean", "euclidean", "cosine")),
    ]))  # fmt: skip
    kinds = ["kl", "kl", "jensen_shannon", "total_variation"] if q.reduce == "logsumexp" else ["kl"]
    mapper = draw(st.sampled_from(["table", "linear", MLP((8,))]))
    made = supervisory.Choices(lists, p, anchors=anchors, weights=weights)
    model = ICONEmbedding(
        3, p=made, q=q, divergence=draw(st.sampled_from(kinds)), mapper=mapper, debias=share,
        engine=draw(st.sampled_from(["auto", "dense", MiniBatch(draw(st.integers(4, 60)))])),
        max_iter=draw(st.integers(1, 6)), random_state=0,
    )  # fmt: skip
    model = fitted(model, X)
    U = places_of(model, X)
    U = np.exp(U - np.logaddexp.reduce(U, 1)[:, None]) if isinstance(q, learned.Cluster) else U
    # A list of two, one of them without p, is at its minimum far away: what is left of the loss is rounding.
    expected = written_lists(lists, p, anchors, weights, share, model.q_, model.divergence_, U)
    assert_is_the_loss(model, expected, single=mapper != "table" and dtype_of(model) == torch.float32)


CHECKS = {
    "lists": check_lists,
    "maps": check_map,
    "clusterings": check_clustering,
    "classifiers": check_classifier,
    "few labels": check_few_labels,
}
each = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)


@each
@FEW
@given(data=st.data())
def test_losses_of_random_problems(check, data):
    check(data.draw)


@pytest.mark.slow
@each
@MANY
@given(data=st.data())
def test_losses_of_many_more_random_problems(check, data):
    check(data.draw)


# -- what the loop sees is not always the loss of what is kept ----------------------------------------------------


X = np.random.default_rng(0).normal(size=(60, 4))
REPEATED = np.r_[X, X[:20], X[:20]]


def test_batches_report_the_loss_of_all_rows():
    model = ICONEmbedding(engine=MiniBatch(16), max_iter=3, random_state=0).fit(X)
    assert_is_the_loss(model, written(model.p_.conditional_, model.q_, model.divergence_, model.embedding_))
    assert abs(model.loss_ - model.loss_history_[-1]) > 0.01


@pytest.mark.parametrize("layer", [torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(8)])
def test_layers_that_act_otherwise_in_training(layer):
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 8, dtype=torch.float64), layer.double(), torch.nn.Linear(8, 2).double()
    )
    model = ICONEmbedding(mapper=net, max_iter=3, random_state=0).fit(X)
    assert_is_the_loss(model, written(model.p_.conditional_, model.q_, model.divergence_, model.embedding_))


def test_equal_rows_share_a_place_and_the_loss_is_that_of_it():
    model = ICONEmbedding(max_iter=20, init="random", random_state=0).fit(REPEATED)
    np.testing.assert_array_equal(model.mapper_.places.detach().numpy(), model.embedding_)
    assert_is_the_loss(model, written(model.p_.conditional_, model.q_, model.divergence_, model.embedding_))


def test_views_have_an_estimate_for_a_loss():
    model = ICONEmbedding(p="views", mapper="linear", max_iter=2, random_state=0).fit(X)
    assert model.loss_is_estimate_ and model.loss_ == pytest.approx(model.loss_history_[-1])


def test_more_pairs_than_are_evaluated(monkeypatch):
    monkeypatch.setattr("iconlearn.solve.MAX_EVALUATED", 100)
    model = ICONEmbedding(engine=MiniBatch(16), max_iter=3, random_state=0).fit(X)
    assert model.loss_is_estimate_ and model.loss_ == pytest.approx(model.loss_history_[-1])
    assert not ICONEmbedding(engine="dense", max_iter=3, random_state=0).fit(X).loss_is_estimate_
    assert not ICONClustering(2, engine="partition", random_state=0).fit(X).loss_is_estimate_


def test_states_that_are_not_finite_are_not_kept():
    A = graph_with_isolated_rows(14, np.random.default_rng(0))
    model = ICONEmbedding(
        5, p=supervisory.Graph(A, mass="degree"), q=learned.Cosine(normalize="joint"), divergence="jensen_shannon",
        debias=0.3, engine=MiniBatch(9), max_iter=5, random_state=0,
    )  # fmt: skip
    assert np.isfinite(fitted(model, X[:14]).embedding_).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_p", [-600.0, -80.0, -1.0])
def test_f_divergences_have_a_slope_wherever_q_is(dtype, log_p):
    """A joint q of a row without mass is as large as its type allows."""
    most = float(np.log(torch.finfo(dtype).max))
    log_q = torch.tensor([-0.9 * most, -1.0, 0.0, 0.5 * most, 0.9 * most], dtype=dtype, requires_grad=True)
    p = torch.full_like(log_q, max(log_p, -0.9 * most)).exp().detach()
    value = divergences.FDivergence(chi_square)(p, log_q)
    slope = torch.autograd.grad(value.sum(), log_q)[0]
    assert value.isfinite().all() and slope.isfinite().all()
    # (p - q)^2 / q, and its slope q - p^2 / q, where q is no smaller than t allows
    q, exact = log_q.detach().double().exp()[1:], p.double()[1:]
    np.testing.assert_allclose(value.detach().double()[1:], q * (exact / q - 1) ** 2, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(slope.double()[1:], q * (1 - (exact / q) ** 2), rtol=1e-4, atol=1e-7)


# -- word vectors of more words than the dense engine takes ---------------------------------------------------------


def two_topics(n_words, n_tokens, rng):
    """Sentences of words of one topic each, by Zipf's law, and every word at least once."""
    half = n_words // 2
    share = 1.0 / np.arange(1, half + 1)
    drawn = rng.choice(half, (n_tokens // 20, 20), p=share / share.sum())
    lines = [[f"{i % 2}:{w}" for w in line] for i, line in enumerate(drawn)]
    for topic in (0, 1):
        order = rng.permutation(half)
        lines += [[f"{topic}:{w}" for w in order[start : start + 20]] for start in range(0, half, 20)]
    return lines


def test_word_vectors_in_batches_converge():
    lines = two_topics(1200, 20_000, np.random.default_rng(0))
    model = recipes.skip_gram(n_components=16).set_params(engine=MiniBatch(64), max_iter=12, random_state=0)
    model = fitted(model, lines)
    history = model.loss_history_
    assert history[-1] < history[0] and (np.diff(history) < 0.05).all()
    expected = written(
        model.p_.conditional_, model.q_, model.divergence_, model.embedding_, model.column_embedding_
    )
    assert_is_the_loss(model, expected)
    start = written(
        model.p_.conditional_, model.q_, model.divergence_, 0 * model.embedding_, model.column_embedding_
    )
    assert model.loss_ < start
