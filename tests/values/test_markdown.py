"""Markdown of operators: what it may say, and that nothing in it can do harm."""

import re
import time

import pytest

from webapp.values.markdown import TAGS, as_html, as_text

HARM = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\nscript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x)",
    '[a](https://x.kr "on\\" onclick=alert(1) ")',
    '<https://x.kr/" onclick=alert(1)>',
    "![a](https://x.kr/track.png)",
    "<style>*{display:none}</style>",
    "<iframe src=//evil></iframe>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "```\n<b>\n```",
    "<svg><script>1</script></svg>",
    "[a]: javascript:alert(1)\n\n[a]",
    "<!--><script>alert(1)</script>-->",
]


@pytest.mark.parametrize("text", HARM)
def test_nothing_in_it_can_do_harm(text):
    made = as_html(text)
    assert set(re.findall(r"<(\w+)", made)) <= TAGS
    attributes = re.findall(r"<\w+([^>]*)>", made)
    assert all(
        re.fullmatch(r'( href="(https?:|mailto:|tel:)[^"]*" rel="noopener nofollow")?', each)
        for each in attributes
    )


def test_control_the_reader_alone_would_let_a_script_through():
    from markdown_it import MarkdownIt

    assert "<script>" in MarkdownIt().render(HARM[0])


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("**굵게** *기울임*", "<p><strong>굵게</strong> <em>기울임</em></p>"),
        ("한 줄\n두 줄", "<p>한 줄<br>\n두 줄</p>"),
        ("- 하나\n- 둘", "<ul>\n<li>하나</li>\n<li>둘</li>\n</ul>"),
        ("# 제목", "<h3>제목</h3>"),
        ("###### 제목", "<h3>제목</h3>"),
        ("[글](tel:02-123)", '<p><a href="tel:02-123" rel="noopener nofollow">글</a></p>'),
        ("1 < 2 & 3", "<p>1 &lt; 2 &amp; 3</p>"),
        ("", ""),
    ],
)
def test_what_it_may_say(text, made):
    assert as_html(text) == made


@pytest.mark.parametrize(
    "text", ["**20%**를", '**"1인 1매"**만', "꼭**(주의)**하세요", "**[안내]**입니다", "*20%*를"]
)
def test_bold_ends_before_a_korean_particle(text):
    assert "*" not in as_html(text)
    assert "\u2060" not in as_html(text)


def test_control_the_reader_alone_does_not_see_that_end():
    from markdown_it import MarkdownIt

    assert "**" in MarkdownIt().render("**20%**를")


def test_an_escaped_asterisk_stays():
    assert as_html(r"\*20%\*를") == "<p>*20%*를</p>"


def test_its_words_alone():
    assert as_text("# 제목\n\n**20%**를 & <b>\n- 하나\n- 둘") == "제목 20%를 & <b> 하나 둘"


@pytest.mark.parametrize(
    "part", ["[", "*a", "**a", "- ", "> ", "[a](", "<", "*_", "\\", "1. ", "\n\n- a\n  "]
)
def test_a_hostile_text_takes_no_time_worth_speaking_of(part):
    begun = time.process_time()
    as_html((part * 5000)[:5000])
    assert time.process_time() - begun < 5
