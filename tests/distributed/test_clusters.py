"""Clusters with a table over several processes: micro-clusters, the search and the steps are those of one process."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering
from iconlearn.clusters import _microclusters, _shards
from iconlearn.distributed import shards
from iconlearn.engines import Partition
from iconlearn.initialization import _assignments

X = load_digits().data[:700]
CUTS = {2: [0, 400, 700], 3: [0, 100, 450, 700]}
# So few micro-clusters, 150 of 5 clusters, that the first process has far fewer nodes than rows.
FEW = {(_microclusters, "N_NODES"): 100, (_microclusters, "FEW_ROWS"): 0, (_shards, "FEW_NODES"): 0}


def own(group):
    return X[CUTS[group.size][group.rank] : CUTS[group.size][group.rank + 1]]


def fitted(parameters, rows):
    """A model, and how many nodes the search has seen in this process."""
    seen, search = [], _assignments.search_balances
    with pytest.MonkeyPatch.context() as patch:
        for place, value in FEW.items():
            patch.setattr(*place, value)
        noted = lambda graph, *rest: seen.append(graph.n) or search(graph, *rest)  # noqa: E731
        patch.setattr(_assignments, "search_balances", noted)
        return ICONClustering(**{"n_clusters": 5, "n_init": 4, "random_state": 0} | parameters).fit(
            rows
        ), seen


def of_own(parameters):
    with shards(timeout=60) as group:
        rows = own(group)
        model, seen = fitted(parameters, rows)
        assert (model.predict(rows) == model.labels_).all()
        return model, seen


# A uniform share is seen by groups of rows, and by all pairs at the end.
SHARED = {"debias": 0.1, "engine": Partition(max_exact=500)}


@pytest.mark.parametrize(("parameters", "ranks"), [({}, "three"), (SHARED, "two"), ({"debias": 0.1}, "two")])
def test_clusters_are_those_of_one_process(parameters, ranks, request):
    whole, _ = fitted(parameters, X)
    parts = request.getfixturevalue(ranks).results(of_own, parameters)
    assert adjusted_rand_score(whole.labels_, np.concatenate([model.labels_ for model, _ in parts])) > 0.999
    for rank, (model, seen) in enumerate(parts):
        np.testing.assert_allclose(model.loss_history_, whole.loss_history_, rtol=1e-9)
        assert model.loss_ == pytest.approx(whole.loss_, rel=1e-9) and model.n_clusters_ == 5
        assert model.q_.balance_ == whole.q_.balance_
        assert (len(seen) == 1 and seen[0] <= 300) if rank == 0 else not seen
        assert not hasattr(model, "probabilities_") and not hasattr(model, "merge_path_")
        for ask in (model.predict, model.predict_proba, model.score):
            with pytest.raises(ValueError, match="process"):
                ask(X[:100] + 0.5)


def test_the_number_of_clusters_is_counted(two):
    whole, _ = fitted({"n_clusters": "auto"}, X)
    parts = two.results(of_own, {"n_clusters": "auto"})
    assert all(model.n_clusters_ == whole.n_clusters_ for model, _ in parts)
    assert adjusted_rand_score(whole.labels_, np.concatenate([model.labels_ for model, _ in parts])) > 0.99


def refused(parameters):
    with shards(timeout=60) as group:
        return ICONClustering(5, random_state=0, max_iter=3, **parameters).fit(own(group))


def test_what_is_refused(two):
    for parameters in ({"init": "kmeans"}, {"min_confidence": 0.5}):
        for answer in two.run(refused, parameters):
            assert isinstance(answer, ValueError) and "process" in str(answer), answer
