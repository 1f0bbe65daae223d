"""Settings of the documentation site: Sphinx with MyST-NB. `scripts/docs.sh` builds it.

The pages are plain Markdown. `_extension/pages.py` runs their ```python blocks, makes the table of contents from the
tables of `index.md`, and turns `bp.fit` in a text into a link; `_extension/inventories.py` finds out which other
projects can be linked to. The pages of the names and of the learning rules are generated here, before Sphinx reads.
"""

import hashlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extension")]

from inventories import reachable  # noqa: E402  # pyright: ignore[reportMissingImports]

import bpjax  # noqa: E402
from scripts import api_pages, rule_pages  # noqa: E402

api_pages.write(HERE / "api")
rule_pages.write(HERE / "rules")


def code_version() -> str:
    """A hash of the library: outputs of pages are those of this code, and are computed again when it changes."""
    files = sorted((HERE.parent / "bpjax").rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


project, author, copyright = "bpjax", "The bpjax developers", "The bpjax developers"
version = release = bpjax.__version__
extensions = ["myst_nb", "sphinx.ext.intersphinx", "pages"]
exclude_patterns = ["_build", "_extension", "skeletons"]
nitpicky = False  # types in annotations that belong to no documented project stay plain text

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "strikethrough"]
myst_links_external_new_tab = False

nb_execution_mode = os.environ.get("BPJAX_DOCS_EXECUTE", "cache")  # "off" for a look at the layout
suppress_warnings = ["myst-nb.lexer"] if nb_execution_mode == "off" else []  # then no kernel names the language
nb_execution_cache_path = str(HERE / "_build" / "outputs" / code_version())
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

python_maximum_signature_line_length = 60
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

intersphinx_mapping = reachable(
    {
        "python": "https://docs.python.org/3/",
        "jax": "https://docs.jax.dev/en/latest/",
        "numpy": "https://numpy.org/doc/stable/",
        "optax": "https://optax.readthedocs.io/en/latest/",
        "xarray": "https://docs.xarray.dev/en/stable/",
    }
)

html_theme = "sphinx_book_theme"
html_title = "bpjax"
html_static_path = ["_static"]
html_css_files = ["bpjax.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
