"""Shares of causes in missed objects, when several may act on one object."""

from __future__ import annotations

import numpy as np

STEPS = 300  # of expectation maximisation; the shares of strata of thousands of objects are stable after some tens
FIRST_RISK = 0.5
FIRST_BASE_RISK = 0.02
HIGHEST_RISK = 1 - 1e-9
FEWEST_OUTSIDE = 30  # objects that a selective cause does not act on, from which the other risks are estimated


def cause_shares(exposed: np.ndarray, selective: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Returns by how much each cause explains each missed object: float64 [C + 2, M].

    A cause explains misses only as far as the objects that it acts on are missed more often than others. The model is the
    noisy-or (Pearl 1988, Probabilistic Reasoning in Intelligent Systems, section 4.3.2): the causes that act on an object
    make it missed independently of each other, cause c with probability r_c, and so does an unknown one, r_0, on all
    objects; ``P(missed) = 1 - (1 - r_0) * product of (1 - r_c)``. The r are fitted by expectation maximisation. The share
    of a cause in a miss is that of its hazard, ``-log(1 - r_c)``, in the sum of those that act on the object.

    A selective cause prefers objects on which other causes act too: a limit of detections cuts off those of low scores, as
    of small objects. The other risks are those of the objects that it does not act on; it explains what exceeds them, in
    each combination of the other causes by itself. With fewer than 30 such objects it is one cause among the others.

    If a cause acts on all objects, the data do not separate it from the unknown one; then it is held responsible for most,
    since the fit starts from a low r_0.

    Args:
        exposed: bool [C, M], whether each cause acts on each object.
        selective: bool [M], whether the selective cause does.
        missed: bool [M].
    Returns:
        rows are the C causes, the selective one, and the unknown one. Columns of missed objects sum to 1; the others are 0.
    """
    everywhere = np.ones((1, len(missed)), bool)
    if selective.any() and (~selective).sum() >= FEWEST_OUTSIDE:
        acting = np.concatenate([exposed, everywhere])
        risks = _fit(acting[:, ~selective], missed[~selective])
        hazards = acting * -np.log1p(-risks)[:, None]
        surplus = np.zeros(len(missed))
        of_object = np.unique(acting[:, selective], axis=1, return_inverse=True)[1].reshape(-1)
        rates = np.bincount(of_object, missed[selective]) / np.bincount(of_object)
        total = -np.log1p(-np.minimum(rates, HIGHEST_RISK))[of_object]
        surplus[selective] = np.maximum(total - hazards[:, selective].sum(axis=0), 0.0)
        hazards = np.insert(hazards, len(exposed), surplus, axis=0)
    else:
        acting = np.concatenate([exposed, selective[None], everywhere])
        hazards = acting * -np.log1p(-_fit(acting, missed))[:, None]
    sums = hazards.sum(axis=0)
    # Without any hazard in its stratum, a miss has no known cause.
    hazards[-1] = np.where(sums > 0, hazards[-1], 1.0)
    return hazards / np.where(sums > 0, sums, 1.0) * missed


def _fit(acting: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """The risk of each cause, the last of which acts on all objects: float64 [C]."""
    strata, of_object = np.unique(acting, axis=1, return_inverse=True)
    of_object = of_object.reshape(-1)
    sizes = np.bincount(of_object, minlength=strata.shape[1]).astype(np.float64)
    misses = np.bincount(of_object, missed, minlength=strata.shape[1])
    risks = np.full(len(acting), FIRST_RISK)
    risks[-1] = FIRST_BASE_RISK
    exposures = strata @ sizes
    for _ in range(STEPS):
        chance = 1 - np.prod(np.where(strata, 1 - risks[:, None], 1.0), axis=0)
        active = strata * risks[:, None] / np.maximum(chance, 1e-12)
        risks = np.minimum(active @ misses / np.maximum(exposures, 1), HIGHEST_RISK)
    return risks
