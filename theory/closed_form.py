"""What a Gaussian on a linear manifold allows to be known exactly: probabilistic PCA.

With linear networks and Gaussian data the VAE is probabilistic PCA (Tipping and Bishop 1999): its
posterior is Gaussian and, in a suitable basis, of independent coordinates, so the bound is tight.
The eigenvalues lambda_1 >= ... >= lambda_d are those of the data's covariance.
"""

from __future__ import annotations

import numpy as np


def optimal_cost(eigenvalues: np.ndarray, kappa: int, gamma: float) -> float:
    """The least cost of a VAE with decoder noise gamma, a standard deviation, in nats a vector.

    The model's covariance has the eigenvalues max(lambda_j, gamma^2) for the kappa largest and
    gamma^2 for the others:  1/2 sum_j ( log 2 pi + log c_j + lambda_j / c_j ).
    """
    eigenvalues = np.sort(np.asarray(eigenvalues, float))[::-1]
    c = np.full(len(eigenvalues), gamma**2)
    c[:kappa] = np.maximum(eigenvalues[:kappa], gamma**2)
    return float(0.5 * np.sum(np.log(2 * np.pi) + np.log(c) + eigenvalues / c))


def optimal_gamma(eigenvalues: np.ndarray, kappa: int) -> float:
    """The learned gamma, a standard deviation: root of the mean of the d - kappa least ones."""
    eigenvalues = np.sort(np.asarray(eigenvalues, float))[::-1]
    return float(np.sqrt(eigenvalues[kappa:].mean()))
