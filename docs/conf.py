"""How Sphinx builds the documentation: ``make docs``."""

project = "mailframe"
author = "the mailframe maintainers"
copyright = author

extensions: list[str] = []
exclude_patterns = ["_build"]
nitpicky = True
html_theme = "alabaster"
html_theme_options = {
    "description": "A pluggable mail server framework on Twisted",
    "fixed_sidebar": True,
    "page_width": "1000px",
}
