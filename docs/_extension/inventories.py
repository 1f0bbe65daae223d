"""Which documentation of other projects can be linked to from here."""

import concurrent.futures
import os
import urllib.request

from sphinx.util import logging

logger = logging.getLogger(__name__)
SECONDS = 10
"""How long an inventory may take."""


def fails(address: str) -> str:
    """Why the inventory at an address cannot be read, or ''."""
    try:
        urllib.request.urlopen(address + "objects.inv", timeout=SECONDS).close()
    except OSError as error:
        return str(error)
    return ""


def reachable(projects: dict[str, str]) -> dict[str, tuple[str, None]]:
    """The projects whose inventory can be read, as Sphinx's `intersphinx_mapping`.

    Without a network there are none: names of other projects are then plain text, which the log says, and the build has
    no warning. With `BPJAX_DOCS_LINKS=required` a project that cannot be reached is a warning, so that a site that is
    published never lacks its links unnoticed.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        reasons = dict(zip(projects, pool.map(fails, projects.values()), strict=True))
    required = os.environ.get("BPJAX_DOCS_LINKS") == "required"
    for name in (name for name, reason in reasons.items() if reason):
        say = logger.warning if required else logger.info
        say(f"names of {name} are no links: {projects[name]}objects.inv cannot be read ({reasons[name]})")
    return {name: (address, None) for name, address in projects.items() if not reasons[name]}
