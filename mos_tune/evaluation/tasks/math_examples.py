# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The five worked examples in front of every MATH problem."""

EXAMPLES = 5

_FIFTH = {
    "problem": "A bowl holds $5$ red beads and $7$ green beads. Two beads are taken at random, "
    "without putting the first one back. What is the probability that both are red?",
    "solution": "The first bead is red with probability $\\frac{5}{12}$. Then $4$ of the $11$ "
    "beads left are red, so the probability that both are red is "
    "$\\frac{5}{12}\\cdot\\frac{4}{11}=\\frac{20}{132}=\\boxed{\\frac{5}{33}}.$\n"
    "Final Answer: The final answer is $\\frac{5}{33}$. I hope it is correct.",
    "few_shot": "1",
}


def five_examples() -> list[dict[str, str]] | None:
    """Returns lm-eval's four examples of Minerva's prompt and a fifth one, written for it.

    Minerva's prompt (Lewkowycz et al. 2022, arXiv 2206.14858, appendix D.2) ends after four, and
    the paper evaluates with five without naming them. The fifth is nobody's: examples out of
    MATH's training set would differ between hub and local data, which has none.

    Returns:
        The examples, or None if lm-eval's lack what they need. Loading the task then
        says what that is.
    """
    try:
        from lm_eval.tasks.minerva_math.utils import list_fewshot_samples
    except (ImportError, AssertionError):
        return None
    return [*list_fewshot_samples(), _FIFTH]
