"""The site's extension of Sphinx: the pages' text from `site_text.py`, and names in a text that are links."""

import re

from docutils import nodes
from site_text import copy_outside, site_text
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

from scripts.api_pages import addresses


def read(app, page: str, source: list[str]) -> None:
    """Replace what Sphinx has read."""
    source[0] = site_text(page, source[0])


class NamesAreLinks(SphinxTransform):
    """`bp.fit` or `bpjax.rules.delayed(...)` in a text becomes a link to its entry; on the reference page `fit` too."""

    default_priority = 400
    NAME = re.compile(r"(?:bp|bpjax)\.([A-Za-z_][\w.]*)(?:\(.*\))?$", re.DOTALL)

    def apply(self, **kwargs) -> None:
        """Replace the literals of one page."""
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            match = self.NAME.match(f"bp.{text}" if self.env.docname == "reference" else text)
            linked = isinstance(literal.parent, nodes.reference | nodes.title | pending_xref)
            if not match or linked or self.env.docname.startswith("api/"):
                continue
            path = f"bpjax.{match[1]}" if "." in match[1] else addresses().get(match[1], "")
            if path.startswith("bpjax."):
                reference = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=path, refdoc=self.env.docname, refwarn=False
                )
                literal.replace_self(reference)
                reference += literal


def setup(app) -> dict:
    """Connect to Sphinx."""
    copy_outside()
    app.connect("source-read", read)
    app.add_transform(NamesAreLinks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
