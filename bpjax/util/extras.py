"""Packages that come as extras: imported where they are used, and named with their extra where they are missing."""

import contextlib


@contextlib.contextmanager
def require_extra(sentence: str, extra: str = "experiments"):
    """A block of imports; raises a `ModuleNotFoundError` that says what to install.

        with require_extra("Pages are drawn by Plotly"):
            from plotly.offline import get_plotlyjs

    `sentence` says what the package is for and names it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{sentence}, which is not installed. Install it: pip install 'bpjax[{extra}]'."
        ) from error
