"""The documentation site: `sphinx-build -W docs site` with the extra `docs` installed."""

import re
from importlib.metadata import version as version_of

project = "rgprobe"
author = "The rgprobe maintainers"
version = release = version_of("rgprobe")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["runs"]
html_theme = "alabaster"
html_theme_options = {"description": "Renormalization-group flow in transformers, measured", "page_width": "76rem"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_static_path = ["_static"]
html_css_files = ["site.css"]

napoleon_use_ivar = True  # a property that a class lists among its attributes is described once
default_role = "py:obj"  # single backticks, as docstrings have them: a link where the name is on the site, else code
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
autodoc_member_order = "bysource"
myst_heading_anchors = 3
myst_links_external_new_tab = True
suppress_warnings = [
    "myst.xref_missing",
    "misc.highlighting_failure",
]  # links to files beside docs/ are the repository's

CODE = re.compile(r"(`+[^`]*`+)")


def _literal_signs(app, what, name, obj, options, lines):
    """|x| is a norm and * a product: in running text neither marks anything up."""
    if what == "module":  # these hold tables, whose columns would shift
        return
    for index, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = CODE.split(line)
            lines[index] = "".join(
                part if place % 2 else re.sub(r"([|*])", r"\\\1", part) for place, part in enumerate(parts)
            )


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _literal_signs, priority=100)
