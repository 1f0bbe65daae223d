"""What bpjax is compared with PyTorch at, one module for each family of operators; each has a list `CASES`."""

import importlib.util

from pytorch_cases import attention, losses
from pytorch_cases.case import Case

FAMILIES: dict[str, list[Case]] = {
    "losses": losses.CASES,
    "attention": attention.CASES,
}
"""Family to its cases, in the order of the table."""

if importlib.util.find_spec("expecttest"):  # which the inputs of PyTorch's own tests need
    from pytorch_cases import operators

    FAMILIES |= {family: operators.cases(family) for family in operators.FAMILIES}
