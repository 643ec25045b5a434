"""Parameters under the names that other libraries give them, and where they are here."""

from __future__ import annotations

import inspect

from .._checks import suggest
from ..registry import COMPONENTS

# What to write for a parameter of another library, with {value} for the value that was given.  What a component of
# iconlearn has under the same name is found in the registry and needs no line here, but where one component is meant
# above the others.
ELSEWHERE = {
    "affinity": "weights of pairs are p='graph', distances p=iconlearn.supervisory.KNN(metric='precomputed')",
    "a": "q=iconlearn.learned.Student() has no such shape; its tail is set by dof",
    "angle": "the accuracy of sums is that of the engine: engine='dense' is exact",
    "alpha": "the weight of the penalty is 1 / C in ICONClassifier(C=...); a uniform share of p is debias",
    "b": "q=iconlearn.learned.Student() has no such shape; its tail is set by dof",
    "batch_size": "use engine=iconlearn.engines.MiniBatch({value})",
    "densmap": "groups as wide as in the data are recipes.density_tsne(density_weight=...)",
    "dissimilarity": "X is a matrix of distances with p=iconlearn.supervisory.KNN(metric='precomputed')",
    "early_exaggeration_iter": "use early_exaggeration, which lasts for a sixth of max_iter (at most 100)",
    "epochs": "use max_iter={value}",
    "eps": "a graph of all pairs within a radius is p=sklearn.neighbors.radius_neighbors_graph(X, {value})",
    "exaggeration": "use early_exaggeration={value}",
    "fit_intercept": "a linear map has an intercept; none is mapper=iconlearn.mappers.Linear(bias=False)",
    "gamma": "a Gaussian kernel exp(-gamma d^2) is p=iconlearn.supervisory.Gaussian(sigma=(2 * gamma) ** -0.5)",
    "hidden_layer_sizes": "use mapper=iconlearn.mappers.MLP({value})",
    "k": "use p=iconlearn.supervisory.KNN({value})",
    "kernel": "the kernel of the data is p, that of the model is q, such as p='gaussian', q='student'",
    "learning_rate_init": "use learning_rate={value}",
    "l1_ratio": "the penalty of a linear map is L2, and C is the inverse of its weight",
    "loss": "the loss is a divergence of p and q, such as divergence='kl'",
    "lr": "use learning_rate={value}",
    "method": "how sums are found is the engine, such as engine='dense'; how the loss falls, the optimizer",
    "metric": "use p=iconlearn.supervisory.KNN(metric={value})",
    "metric_params": "use p=iconlearn.supervisory.KNN(metric=..., metric_params={value})",
    "min_cluster_size": "clusters have no least size; their number is n_clusters, or n_clusters='auto'",
    "min_dist": "how tight a map is depends on q (as q='inverse_power') and debias; recipes.umap() is UMAP's loss",
    "min_samples": "no row is noise; ICONClustering(min_confidence=...) marks rows between clusters -1",
    "n_clusters": "it is one of ICONClustering({value})",
    "n_epochs": "use max_iter={value}",
    "n_iter": "use max_iter={value}",
    "n_neighbors": "use p=iconlearn.supervisory.KNN({value})",
    "negative_sample_rate": "use engine='sampled', or engine='minibatch'",
    "network": "use mapper={value}",
    "model": "use mapper={value}",
    "max_epochs": "use max_iter={value}",
    "neighbors": "use p=iconlearn.supervisory.KNN({value})",
    "num_epochs": "use max_iter={value}",
    "penalty": "the penalty of a linear map is L2, and C is the inverse of its weight (C=None: none)",
    "perplexity": "use p=iconlearn.supervisory.Gaussian(perplexity={value})",
    "precomputed_knn": "use p=(indices, distances)",
    "repulsion_strength": "attraction against repulsion is set by debias, and in the beginning by early_exaggeration",
    "resolution": "clusters are as many as n_clusters; their balance is q=iconlearn.learned.Cluster(balance=...)",
    "seed": "use random_state={value}",
    "sigma": "use p=iconlearn.supervisory.Gaussian(sigma={value})",
    "solver": "how the loss falls is the optimizer, such as optimizer='lbfgs'",
    "spread": "the scale of a map is free; how tight it is depends on q and debias",
    "target_metric": "labels enter a map by terms=[iconlearn.Term('labels')]",
    "target_weight": "labels enter a map by terms=[iconlearn.Term('labels', weight={value})]",
}  # fmt: skip


def unknown_names(cls, names):
    """Those of some names that are no parameters of a class; none where it takes any."""
    known = inspect.signature(cls.__init__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return []
    return [name for name in names if name not in known]


def remedy(cls, name, value) -> str:
    """A sentence on a name that is no parameter of an estimator's class: whose it is, and what to write."""
    own = list(inspect.signature(cls.__init__).parameters)[1:]
    written = repr(value) if len(repr(value)) <= 60 else "..."
    near = suggest(name, own)
    said = ELSEWHERE.get(name)
    if said is not None:
        said = said.replace("{value}", written)
        meant = next((other for other in own if said.startswith(f"use {other}=")), None)
        # ICONClassifier learns from labels, and the neighbours of its rows are another parameter.
        if said.startswith(("use p=", "use q=")) and "graph" in own:
            said = f"{said.replace('use p=', 'use graph=')} (for rows without a label)"
        elif said.startswith("use ") and meant is None:
            said = None
    if said is None and not near:
        said = _by_component(own, name, written)
    first = f"{cls.__name__} has no parameter {name!r} ({name}={written})"
    if said:
        return f"{first}: {said}"
    return f"{first}.{near}" if near else f"{first}; it has {', '.join(own)}"


def nested_remedy(parameter, slot, component, name, value) -> str | None:
    """A sentence on a name that a parameter's component has not and another one of its slot has; else None."""
    if name in component.get_params():
        return None
    others = [known for known, make in COMPONENTS[slot].items() if _takes(make, name)]
    if not others:
        return None
    return (
        f"{parameter}={component!r} has no parameter {name!r}, which {' and '.join(map(repr, others))} have; name one "
        f"of them as well, as in set_params({parameter}={others[0]!r}, {parameter}__{name}={value!r})"
    )


def _by_component(own, name, written):
    """Which component has such a parameter."""
    found = [
        f"{slot}=iconlearn.{make.__module__.split('.')[1]}.{make.__name__}({name}={written})"
        for slot, components in COMPONENTS.items()
        if slot in own
        for make in components.values()
        if _takes(make, name)
    ]
    return f"use {' or '.join(found[:3])}" if found else None


def _takes(make, name):
    return name in inspect.signature(make).parameters
