"""Figures of merit: clustering accuracy, calibration, neighbours kept, the t-SNE divergence of any map, divergences of
arrays, information.
"""

from ._bounds import DownstreamBound, InformationBound, downstream_bound
from ._divergence import cross_entropy, divergence, entropy, gaussian_kl
from ._information import mutual_information
from ._labels import clustering_accuracy, expected_calibration_error
from ._maps import joint_kl, neighbor_recall

__all__ = [
    "DownstreamBound",
    "InformationBound",
    "clustering_accuracy",
    "cross_entropy",
    "divergence",
    "downstream_bound",
    "entropy",
    "expected_calibration_error",
    "gaussian_kl",
    "joint_kl",
    "mutual_information",
    "neighbor_recall",
]
