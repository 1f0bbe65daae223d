"""Optional packages: imported where they are used, with an error that names the extra to install."""

import contextlib


@contextlib.contextmanager
def require_extra(sentence: str, extra: str = "experiments"):
    """A context for imports that raises a `ModuleNotFoundError` with the command to install what is missing.

        with require_extra("Figures are drawn by Matplotlib"):
            import matplotlib

    `sentence` names the package and what it is for.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{sentence}, which is not installed. Install it: pip install 'bpjax[{extra}]'."
        ) from error
