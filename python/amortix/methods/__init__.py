"""Every named method as one choice of f and g, in a few lines each; what differs is what they amortise.

>>> learner = METHODS["maml"].construct("regression", features=1)
>>> learner.regime
'parametric'
"""

from amortix.methods.amortised import AMORTISED
from amortix.methods.few_shot import FEW_SHOT
from amortix.methods.in_context import IN_CONTEXT
from amortix.methods.markov import MARKOV
from amortix.methods.meta import META
from amortix.methods.method import Method
from amortix.methods.optimizers import OPTIMIZERS
from amortix.methods.processes import PROCESSES
from amortix.methods.prompts import PROMPTS

METHODS: dict[str, Method] = META | OPTIMIZERS | AMORTISED | PROCESSES | IN_CONTEXT | MARKOV | FEW_SHOT | PROMPTS
"""By the name that recipes use: ``{"method": "maml", "task": "regression"}``."""

__all__ = ["METHODS", "Method"]
