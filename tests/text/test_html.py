"""HTML as text: what stands on the page in the order of reading, and nothing of the site around it."""

from __future__ import annotations

import pytest

from sqlrag.text.html import html_to_text


def text_of(body: str) -> str:
    return html_to_text(f"<!DOCTYPE html><html><head><title>T</title></head><body>{body}</body></html>")[1]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<h1>One</h1><p>a</p><h3>Three</h3>b", "# One\n\na\n\n### Three\n\nb"),
        ("<p>a <b>bold</b>\n  and\t<a href='x'>link</a>, x<sup>2</sup></p>", "a bold and link, x^2"),
        ("<p>a<p>b<div>c</div>d", "a\n\nb\n\nc\n\nd"),
        ("one<br>two<br/><br>three", "one\ntwo\nthree"),
        ("<ul><li>a<li>b<ol><li>c</li><li>d</li></ol></li></ul>e", "- a\n- b\n  1. c\n  2. d\n\ne"),
        ("<dl><dt>term<dd>meaning<dt>next</dl>", "term\nmeaning\nnext"),
        ("<table><tr><th>k<th>v<tr><td>a<td>1</table>", "k | v\na | 1"),
        ("<table><tr><td>one column<tr><td><p>a paragraph</p></table>", "one column\na paragraph"),
        ("x<pre>def f():\n    return  1\n</pre>y", "x\n\n```\ndef f():\n    return  1\n```\n\ny"),
        ("<pre>\n  <b>int</b> main(<i>void</i>);\r\n</pre>", "```\n  int main(void);\n```"),
        ("caf&eacute; &lt;tag&gt; &amp; &#x1F600;&nbsp;end", "café <tag> & 😀 end"),
        ("<blockquote>quoted</blockquote>after", "quoted\n\nafter"),
        ("<p>see <img src=a.png alt='the diagram'>.</p>", "see the diagram."),
        ("<h2></h2><p></p><ul><li></ul>left", "left"),
        ("\u00e9<!-- a comment -->\u00e8", "éè"),
    ],
)
def test_elements(body, text):
    """Each kind of element becomes the lines that a reader sees."""
    assert text_of(body) == text


@pytest.mark.parametrize(
    "chrome",
    [
        "<script>alert('x')</script>",
        "<style>p { color: red }</style>",
        "<nav><ul><li>Home</ul></nav>",
        "<div role=navigation>Home</div>",
        "<div class='a nosearch'>Home<p>Search</p></div>",
        "<template><p>x</p></template>",
        "<noscript>Enable JavaScript</noscript>",
        "<svg><title>t</title><text>label</text></svg>",
        "<button>Copy</button><select><option>a</select><textarea>b</textarea>",
        "<span aria-hidden=true>icon</span>",
    ],
)
def test_what_is_no_text_is_left_out(chrome):
    """Scripts, styles, navigation, controls and drawings do not get into the index."""
    assert text_of(f"<p>before</p>{chrome}<p>after</p>") == "before\n\nafter"


def test_the_anchor_of_a_heading_is_left_out():
    """Sphinx puts a pilcrow behind each heading."""
    assert text_of("<h2>Usage<a class='headerlink' href='#usage'>¶</a></h2>") == "## Usage"


def test_main_is_the_page_where_it_is_marked():
    """A page that says which part is its own is taken at its word; an empty <main> is not."""
    assert text_of("<div>site</div><main><h1>Own</h1></main><footer>2024</footer>") == "# Own"
    assert text_of("<p>content</p><main></main>") == "content"


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title> A\n &amp;  B </title><h1>C</h1>", "A & B"),
        ("<h1>Only <i>a</i> heading</h1>", "Only a heading"),
        ("<svg><title>drawing</title></svg><h1>Page</h1>", "Page"),
        ("plain words", ""),
    ],
)
def test_title(html, title):
    """The title is the page's own, else its first heading, else there is none."""
    assert html_to_text(html)[0] == title


@pytest.mark.parametrize("html", ["", "<", "<html>", "<p", "<!-- ", "<body><script>x", "\0"])
def test_broken_pages_have_no_text(html):
    """What holds no text gives none, and no error."""
    title, text = html_to_text(html)
    assert title == ""
    assert text.strip("<\ufffd") == ""


def test_deeply_nested_pages_are_read():
    """Ten thousand elements inside one another are no stack overflow."""
    html = "<div>" * 10_000 + "deep" + "</div>" * 10_000
    assert html_to_text(html)[1] == "deep"
