"""Every named method as one choice of f and g, in a few lines each; what differs is what they amortise.

>>> learner = METHODS["maml"].construct("regression", features=1)
>>> learner.regime
'parametric'
"""

from amortix.methods.few_shot import FEW_SHOT
from amortix.methods.meta import META
from amortix.methods.method import Method

METHODS: dict[str, Method] = META | FEW_SHOT
"""By the name that recipes use: ``{"method": "maml", "task": "regression"}``."""

__all__ = ["METHODS", "Method"]
