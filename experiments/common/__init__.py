"""What the experiments share: the command line, progress, receipts, stored results."""
