"""Texts of operators in Markdown, as HTML that cannot do harm.

The subset: paragraphs and line breaks, bold, italic, lists, links, headings (all of one level). HTML in a text is
shown as it was typed. markdown-it reads the text, and nh3 lets through only what is listed here.
"""

import re
from functools import lru_cache
from html import unescape

import nh3
from markdown_it import MarkdownIt

MOST_KEPT = 256
"""Texts that a process keeps as HTML: each page of a coupon shows two, and a crowd loads the same ones."""
RULES = ["newline", "emphasis", "link", "autolink", "escape", "entity", "list", "heading", "balance_pairs"]
TAGS = {"p", "br", "strong", "em", "ul", "ol", "li", "a", "h3"}
SCHEMES = {"http", "https", "mailto", "tel"}
BLOCK_ENDS = re.compile(r"<(?:br|/p|/li|/h3)>")
LETTER, MARK = "[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3]", r"[^\w\s\\*]"
BESIDE_A_LETTER = re.compile(rf"(?<={LETTER})(\*+)(?={MARK})|(?<={MARK})(\*+)(?={LETTER})")
JOINER = "\u2060"
"""It shows nothing, and no text has it: `values.texts` removes it."""
_READER = MarkdownIt("zero", {"html": False, "breaks": True}).enable([*RULES, "text_join", "fragments_join"])


@lru_cache(MOST_KEPT)
def as_html(text: str) -> str:
    """Return the HTML of a text; a repeat for the same text is looked up."""
    tokens = _READER.parse(_emphasised(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
    made = _READER.renderer.render(tokens, _READER.options, {})
    return (
        nh3.clean(
            made,
            tags=TAGS,
            attributes={"a": {"href"}, "*": set()},
            url_schemes=SCHEMES,
            link_rel="noopener nofollow",
        )
        .replace(JOINER, "")
        .strip()
    )


def as_text(text: str) -> str:
    """Return the words of a text alone, in one line: for previews of shared links and for calendars."""
    words = nh3.clean(BLOCK_ENDS.sub(r"\g<0> ", as_html(text)), tags=set())
    return " ".join(unescape(words).split())


def _emphasised(text: str) -> str:
    """Return a text in which asterisks between a Korean letter and a punctuation mark count, as people expect.

    Korean puts no space before its particles, and Markdown takes the last asterisks of **20%**를 for plain ones.
    """
    return BESIDE_A_LETTER.sub(lambda found: f"{JOINER}{found[0]}{JOINER}", text)
