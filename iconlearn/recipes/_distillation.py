"""A student learns what a teacher says."""

from __future__ import annotations

from ..engines import MiniBatch
from ..estimators import ICONClassifier, Term
from ..learned import Dot
from ..mappers import MLP
from ..supervisory import Classes, Predictions
from ._recipe import recipe


@recipe(
    "Distillation", p="A teacher", q="Gaussian", data="labelled", estimator="ICONClassifier", mapper="network",
    formula="p = 1 on the row's class; times weight T²: p ∝ exp(t_c / T), q ∝ exp(z_c / T), t the teacher's logits",
    paper="Hinton, Vinyals and Dean, 2015",
    verified="torch's cross-entropy and kl_div; the square of centred logits as T -> infinity",
)  # fmt: skip
def distillation(teacher, temperature=4.0, weight=0.9, hidden=(64,)):
    # Slopes of the softened term are 1 / T² of those of the labels.
    imitation = Term(Predictions(teacher, temperature), q=Dot(temperature), weight=weight * temperature**2)
    return ICONClassifier(p=Classes(), q=Dot(), mapper=MLP(hidden), terms=[imitation], engine=MiniBatch(200))
