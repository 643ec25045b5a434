"""Parameters under the names of other libraries: an error that says where they are here."""

import inspect
import pickle

import pytest
from sklearn.base import clone

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.estimators._parameter_names import ELSEWHERE

KINDS = [ICONEmbedding, ICONClustering, ICONClassifier]

# What others write, and what the message must say.
WRITTEN = [
    ({"perplexity": 50}, r"Gaussian\(perplexity=50\)"),
    ({"n_neighbors": 7}, r"KNN\(7\)"),
    ({"metric": "cosine"}, r"KNN\(metric='cosine'\)"),
    ({"n_iter": 500}, "max_iter=500"),
    ({"seed": 3}, "random_state=3"),
    ({"max_itr": 5}, 'Did you mean "max_iter"'),
    ({"balance": 0.5}, r"Cluster\(balance=0.5\)"),
    ({"hidden": (8,)}, r"MLP\(hidden=\(8,\)\)"),
    ({"eps": 0.3}, r"radius_neighbors_graph\(X, 0.3\)"),
    ({"min_dist": 0.1}, "q="),
    ({"densmap": True}, "recipes.density_tsne"),
    ({"penalty": "l1"}, "is L2, and C is"),
    ({"solver": "lbfgs"}, "optimizer='lbfgs'"),
    ({"nothing_like_it": 1}, "it has .*max_iter"),
]
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("params, said", WRITTEN)
def test_a_name_of_another_library_is_answered_with_ours(kind, params, said):
    name = next(iter(params))
    with pytest.raises(TypeError, match=f"{kind.__name__} has no parameter '{name}'.*{said}"):
        kind(**params)
    with pytest.raises(ValueError, match=f"{kind.__name__} has no parameter '{name}'.*{said}"):
        kind().set_params(**params)


def test_a_method_given_as_p_is_answered_with_the_recipes():
    with pytest.raises(ValueError, match=r"p='tsne' is not known.*t-SNE.* iconlearn\.recipes"):
        ICONEmbedding(p="tsne").fit([[0.0], [1.0], [2.0]])


@each_kind
def test_what_is_advised_exists(kind):
    known = inspect.signature(kind).parameters
    for name in ELSEWHERE:
        assert name not in known or (kind is ICONClustering and name == "n_clusters")
        with pytest.raises(TypeError) as error:
            kind(**{name: 1}) if name not in known else kind(none=1)
        advice = str(error.value).partition(": use ")[2]
        if advice:
            assert advice.partition("=")[0] in known


@pytest.mark.parametrize(
    "kind, slot, given, name, other",
    [
        (ICONEmbedding, "p", "knn", "perplexity", "gaussian"),
        (ICONClustering, "p", "knn", "sigma", "gaussian"),
        (ICONClassifier, "graph", "knn", "perplexity", "gaussian"),
        (ICONEmbedding, "q", "student", "power", "inverse_power"),
    ],
)
def test_a_nested_name_of_another_component_names_that_component(kind, slot, given, name, other):
    estimator = kind(**{slot: given})
    with pytest.raises(ValueError, match=rf"set_params\({slot}='{other}', {slot}__{name}=2.0\)"):
        estimator.set_params(**{f"{slot}__{name}": 2.0})
    estimator.set_params(**{slot: other, f"{slot}__{name}": 2.0})
    assert estimator.get_params()[f"{slot}__{name}"] == 2.0


@each_kind
def test_the_signature_stays_that_of_the_parameters(kind):
    names = list(inspect.signature(kind).parameters)
    assert sorted(names) == sorted(kind().get_params(deep=False))
    again = pickle.loads(pickle.dumps(clone(kind(verbose=1))))
    assert again.verbose == 1


class WithMore(ICONEmbedding):
    def __init__(self, extra=1, **parameters):
        super().__init__(**parameters)
        self.extra = extra


class Narrow(ICONEmbedding):
    def __init__(self, extra=1):
        super().__init__(max_iter=3)
        self.extra = extra


def test_subclasses_have_their_own_parameters():
    assert WithMore(extra=2, max_iter=3).max_iter == 3
    assert clone(Narrow(extra=2)).extra == 2
    with pytest.raises(TypeError, match="Narrow has no parameter 'max_iter'"):
        Narrow(max_iter=4)
