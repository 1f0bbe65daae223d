"""What bpjax is compared with PyTorch at, one module for each family of operators; each has a list `CASES`."""

from pytorch_cases import attention, losses
from pytorch_cases.case import Case

FAMILIES: dict[str, list[Case]] = {
    "losses": losses.CASES,
    "attention": attention.CASES,
}
"""Family to its cases, in the order of the table."""
