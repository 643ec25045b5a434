"""What comes next in a sequence."""

from __future__ import annotations

from .._checks import check_number
from ..engines import MiniBatch
from ..estimators import ICONEmbedding, Term
from ..learned import Dot
from ..mappers import MLP, Recurrent
from ..supervisory import Ahead, Cooccurrence
from ._recipe import recipe

NEXT = {"p": "What comes next", "q": "Gaussian", "estimator": "ICONEmbedding", "mapper": "network"}


@recipe(
    "CPC", **NEXT,
    formula="p = 1 on the step that comes k later, q ∝ exp(c_t . W_k z_s), c_t the state of a GRU; summed over k",
    paper="van den Oord, Li and Vinyals, 2018",
    verified="torch's cross-entropies over hand-made contexts, one for each k; torch's GRU for c_t",
)  # fmt: skip
def cpc(step, steps=3, hidden=64, encoder=(64,), first=2, pool="last", whole=False):
    further = range(2, 1 + check_number("steps", steps, low=1, integer=True))
    return ICONEmbedding(
        hidden,
        p=Ahead(step, first=first, whole=whole),
        q=Dot(),
        mapper=Recurrent(step, None, encoder, steps=steps, pool=pool),
        terms=[Term(Ahead(step, ahead, first, whole=whole)) for ahead in further],
        engine=MiniBatch(256),
    )


@recipe(
    "Next-token prediction", data="tokens", **NEXT,
    formula="p = 1 on the token that comes next, q ∝ exp(f(the tokens before it, in their order) . v_c)",
    paper="Bengio, Ducharme, Vincent and Jauvin, JMLR 2003",
    verified="torch's cross-entropy over the vocabulary, from hand-made contexts",
)  # fmt: skip
def next_token(window=5, n_components=64, min_count=1, hidden=(128,)):
    p = Cooccurrence(window, mode="next", min_count=min_count, dynamic=False)
    return ICONEmbedding(n_components, p=p, q=Dot(), mapper=MLP(hidden))
