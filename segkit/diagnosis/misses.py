"""Shares of causes in missed objects, when several may act on one object."""

from __future__ import annotations

import numpy as np

STEPS = 300  # of expectation maximisation; the shares of strata of thousands of objects are stable after some tens
FIRST_RISK = 0.5
FIRST_BASE_RISK = 0.02
HIGHEST_RISK = 1 - 1e-9


def cause_shares(exposed: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Returns by how much each of C causes, and no known one, explains each missed object: float64 [C + 1, M].

    A cause explains misses only as far as the objects that it acts on are missed more often than others. The model is the
    noisy-or (Pearl 1988, Probabilistic Reasoning in Intelligent Systems, section 4.3.2): the causes that act on an object
    make it missed independently of each other, cause c with probability r_c, and so does an unknown one, r_0, on all
    objects; ``P(missed) = 1 - (1 - r_0) * product of (1 - r_c)``. The r are fitted by expectation maximisation. The share
    of a cause in a miss is that of its hazard, ``-log(1 - r_c)``, in the sum of those that act on the object.

    If a cause acts on all objects, the data do not separate it from the unknown one; then it is held responsible for most,
    since the fit starts from a low r_0.

    Args:
        exposed: bool [C, M], whether a cause acts on an object.
        missed: bool [M].
    Returns:
        columns of missed objects sum to 1; the others are 0. The last row is of the unknown cause.
    """
    causes, count = exposed.shape
    acting = np.concatenate([exposed, np.ones((1, count), bool)])
    strata, of_object = np.unique(acting, axis=1, return_inverse=True)
    of_object = of_object.reshape(-1)
    sizes = np.bincount(of_object, minlength=strata.shape[1]).astype(np.float64)
    misses = np.bincount(of_object, missed, minlength=strata.shape[1])
    risk = np.array([FIRST_RISK] * causes + [FIRST_BASE_RISK])
    exposures = strata @ sizes
    for _ in range(STEPS):
        chance = 1 - np.prod(np.where(strata, 1 - risk[:, None], 1.0), axis=0)
        active = strata * risk[:, None] / np.maximum(chance, 1e-12)
        risk = np.minimum(active @ misses / np.maximum(exposures, 1), HIGHEST_RISK)
    hazards = strata * -np.log1p(-risk)[:, None]
    shares = hazards / np.maximum(hazards.sum(axis=0), 1e-300)
    return shares[:, of_object] * missed
