"""Figures of merit: clustering accuracy, calibration, neighbours kept, the t-SNE divergence of any map, divergences of
arrays, information.
"""

from ._bounds import DownstreamBound, InformationBound, accuracy_range, downstream_bound, multiview_bound
from ._divergence import cross_entropy, divergence, entropy, gaussian_kl
from ._information import information_between, mutual_information, noise_information
from ._labels import clustering_accuracy, expected_calibration_error
from ._maps import hyperbolic_distances, joint_kl, neighbor_recall
from ._tracker import InformationTracker, TrackedInformation

__all__ = [
    "DownstreamBound",
    "InformationBound",
    "InformationTracker",
    "TrackedInformation",
    "accuracy_range",
    "clustering_accuracy",
    "cross_entropy",
    "divergence",
    "downstream_bound",
    "entropy",
    "expected_calibration_error",
    "gaussian_kl",
    "information_between",
    "hyperbolic_distances",
    "joint_kl",
    "multiview_bound",
    "mutual_information",
    "neighbor_recall",
    "noise_information",
]
