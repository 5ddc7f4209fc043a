"""Hooks of MkDocs for a page after Markdown: formulas become MathML, and pictures links to their full size.

Browsers show MathML by themselves, so the site needs neither a script nor a network for its formulas.
"""

import html
import re

FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\([(\[])(.*?)\\[)\]]\s*</\1>', re.S)
PICTURE = re.compile(r'<img [^>]*?src="([^"]+)"[^>]*>')


def on_page_content(content: str, **_) -> str:
    """Return the HTML of a page with formulas and pictures as they are shown."""
    content = FORMULA.sub(_mathml, content)
    return PICTURE.sub(r'<a class="picture" href="\1" title="Full size">\g<0></a>', content)


def _mathml(found: re.Match) -> str:
    from latex2mathml.converter import convert

    kind = "block" if found[2] == "[" else "inline"
    formula = convert(html.unescape(found[3]).strip(), display=kind)
    return f'<{found[1]} class="formula">{formula}</{found[1]}>'
