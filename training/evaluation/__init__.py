"""How right a model is, how sure, and how much better than counting: what ``training.evaluate`` puts together.

``scores`` asks the model, ``baselines`` count, ``metrics`` make numbers of both, ``summary`` holds
all of them, and ``table`` and ``html_report`` show it.
"""

from training.evaluation.scores import Evaluation, Scores, choose, distributions, evaluate, score, thin

__all__ = ["Evaluation", "Scores", "choose", "distributions", "evaluate", "score", "thin"]
