"""What comes next in a sequence."""

from __future__ import annotations

from .._checks import check_number
from ..engines import MiniBatch
from ..estimators import ICONEmbedding, Term
from ..learned import Dot
from ..mappers import Recurrent
from ..supervisory import Ahead
from ._recipe import recipe

NEXT = {"p": "What comes next", "q": "Gaussian", "estimator": "ICONEmbedding", "mapper": "network"}


@recipe(
    "CPC", **NEXT,
    formula="p = 1 on the step that comes k later, q ∝ exp(c_t . W_k z_s), c_t the state of a GRU; summed over k",
    paper="van den Oord, Li and Vinyals, 2018",
    verified="torch's cross-entropies over hand-made contexts, one for each k; torch's GRU for c_t",
)  # fmt: skip
def cpc(step, steps=3, hidden=64, encoder=(64,), first=2, pool="last"):
    further = range(2, 1 + check_number("steps", steps, low=1, integer=True))
    return ICONEmbedding(
        hidden,
        p=Ahead(step, first=first),
        q=Dot(),
        mapper=Recurrent(step, None, encoder, steps=steps, pool=pool),
        terms=[Term(Ahead(step, ahead, first)) for ahead in further],
        engine=MiniBatch(256),
    )
