"""Audits of learning rules: receipts and the ledger."""

from bpjax.audit.ledger import LedgerRow, ledger, ledger_of_rules, ledger_table
from bpjax.audit.receipt import Receipt, receipt
from bpjax.audit.timing import TimingReceipt, timing_receipt

__all__ = [
    "LedgerRow",
    "Receipt",
    "TimingReceipt",
    "ledger",
    "ledger_of_rules",
    "ledger_table",
    "receipt",
    "timing_receipt",
]
