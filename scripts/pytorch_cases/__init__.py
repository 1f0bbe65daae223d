"""What bpjax is compared with PyTorch at, one module for each family of operators; each has a list `CASES`."""

import functools
import importlib.util

from pytorch_cases import attention, losses, recurrent
from pytorch_cases.case import Case


class Families(dict):
    """Family to its cases, in the order of the table; those of PyTorch's own tests are made when they are asked for."""

    def __getitem__(self, family: str) -> list[Case]:
        """The cases of a family."""
        listed = super().__getitem__(family)
        return listed() if callable(listed) else listed


FAMILIES = Families({"losses": losses.CASES, "attention": attention.CASES, "recurrent, embedding": recurrent.CASES})

if importlib.util.find_spec("expecttest"):  # which the inputs of PyTorch's own tests need
    from pytorch_cases import operators

    FAMILIES |= {family: functools.partial(operators.cases, family) for family in operators.FAMILIES}
