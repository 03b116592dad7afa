"""The search box on Datasette's page of a chunk table, and the page with its answer."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any

from datasette import Forbidden, NotFound, Response
from datasette.database import QueryInterrupted

from sqlrag.results import Comparison, Hits
from sqlrag.results.hits import hits_of, without_copies
from sqlrag.store.highlight import matching_words
from sqlrag.store.statements import statement
from sqlrag.values.arguments import DEFAULT_TOP_K, DEFAULT_TOP_N

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request

__all__ = ["ROUTE", "box", "search_page"]

ROUTE = r"/-/sqlrag/(?P<database>[^/]+)/(?P<index>[^/]+)$"

_CHUNK_COLUMNS = {"id", "source_id", "ordinal", "start_char", "end_char", "text", "token_count"}
"""Only a table that has these can be one of chunks: others are not looked up."""

_FORM = """
<form action="{{ action }}" method="get" id="sqlrag-search"><p>
<input type="search" name="q" value="{{ question }}" aria-label="Question" placeholder="Ask a question" size="48">
<label>top_n <input type="number" name="top_n" value="{{ top_n }}" min="1" max="{{ top_k }}"></label>
<input type="submit" value="Search in two stages"></p></form>
"""

_PAGE = (
    """{% extends "base.html" %}{% block title %}{{ index }}: {{ question }}{% endblock %}{% block content %}
<h1><a href="{{ table }}">{{ index }}</a></h1>"""
    + _FORM
    + """{% if problem %}<p class="message-error">{{ problem }}</p>{% endif %}{{ found|safe }}{% endblock %}"""
)

# Datasette 0.65 has no hook for HTML on a table's page, only one for a script; so has 1.0.
_SCRIPT = """
(() => {
  const {action, top_n, top_k} = %s;
  if (document.getElementById("sqlrag-search")) return;
  const make = (tag, given) => Object.assign(document.createElement(tag), given);
  const form = make("form", {id: "sqlrag-search", action, method: "get"}), line = make("p");
  const question = make("input", {type: "search", name: "q", size: 48, placeholder: "Ask a question"});
  question.setAttribute("aria-label", "Question");
  const label = make("label", {textContent: "top_n "});
  label.append(make("input", {type: "number", name: "top_n", value: top_n, min: 1, max: top_k}));
  line.append(question, " ", label, " ", make("input", {type: "submit", value: "Search in two stages"}));
  form.append(line);
  document.querySelector(".page-header, h1").after(form);
})();
"""


async def box(datasette: Datasette, database: str, table: str, columns: list[str]) -> str:
    """Return the script that puts the box on the page of a chunk table; an empty one for other tables."""
    if not _CHUNK_COLUMNS.issubset(columns) or await _index(datasette, database, table) is None:
        return ""
    given = {"action": _path(datasette, database, table), "top_n": DEFAULT_TOP_N, "top_k": DEFAULT_TOP_K}
    return _SCRIPT % json.dumps(given).replace("<", "\\u003c")


async def search_page(datasette: Datasette, request: Request) -> Response:
    """Answer a question over an index with both orders. Raises Forbidden, and NotFound for another table."""
    database, index = request.url_vars["database"], request.url_vars["index"]
    if database not in datasette.databases:
        raise NotFound(f"there is no database {database}")
    for table in (index, "documents"):  # the hits are named by their documents
        if not await _may_see(datasette, request.actor, database, table):
            raise Forbidden(f"you may not see {table}")
    found = await _index(datasette, database, index)
    if found is None:
        raise NotFound(f"{index} is not an index of {database}")
    question, top_n = request.args.get("q") or "", _top_n(request.args.get("top_n"))
    shown, problem = "", None
    if question.strip():
        try:
            comparison = await _compared(datasette, database, found, question, top_n)
        except (sqlite3.Error, QueryInterrupted) as error:
            problem = f"{error}: a first question loads the models. Is sql_time_limit_ms long enough?"
        else:
            shown = comparison._repr_html_()
    # Datasette 1.0 has an environment for each request.
    templates = getattr(datasette, "get_jinja_environment", lambda _: datasette.jinja_env)(request)
    page = templates.from_string(_PAGE)
    context = {
        "index": index,
        "table": datasette.urls.table(database, index),
        "action": _path(datasette, database, index),
        "question": question,
        "top_n": top_n,
        "top_k": DEFAULT_TOP_K,
        "found": shown,
        "problem": problem,
    }
    return Response.html(await datasette.render_template(page, context, request=request))


async def _may_see(datasette: Datasette, actor: dict[str, Any] | None, database: str, table: str) -> bool:
    try:
        from datasette.resources import TableResource
    except ImportError:  # before Datasette 1.0
        asked: dict[str, Any] = {
            "permissions": [("view-table", (database, table)), ("view-database", database), "view-instance"]
        }
    else:
        asked = {"action": "view-table", "resource": TableResource(database, table)}
    visible, _ = await datasette.check_visibility(actor, **asked)
    return bool(visible)


def _path(datasette: Datasette, database: str, index: str) -> str:
    from datasette.utils import tilde_encode

    return str(datasette.urls.path(f"/-/sqlrag/{tilde_encode(database)}/{tilde_encode(index)}"))


def _top_n(given: str | None) -> int:
    is_number = given is not None and given.isascii() and given.isdigit()
    return min(max(int(given or 0), 1), DEFAULT_TOP_K) if is_number else DEFAULT_TOP_N


async def _index(datasette: Datasette, database: str, table: str) -> dict[str, Any] | None:
    """Return what sqlrag_info() says of a table's index; None if it is not an index's, or if there is no function."""
    try:
        sql = 'SELECT "index", source, tokenizer FROM sqlrag_info()'
        rows = await datasette.get_database(database).execute(sql)
    except (sqlite3.Error, QueryInterrupted):  # it has no such function, or no time for it
        return None
    return next((dict(row) for row in rows.rows if row["index"] == table), None)


async def _compared(
    datasette: Datasette, database: str, index: dict[str, Any], question: str, top_n: int
) -> Comparison:
    name = "search" if index["source"] == "documents" else "search_rows"
    sql = statement(name, index=index["index"], main="main", search="search")
    params = {"query": question, "top_k": DEFAULT_TOP_K, "top_n": DEFAULT_TOP_K}
    params |= dict.fromkeys(("filter", "budget_ms", "filter_params", "first_stage_weight", "vector_weight"))
    hits = hits_of((await datasette.get_database(database).execute(sql, params)).rows)
    if index["source"] == "documents":
        hits = without_copies(hits)
    words = partial(matching_words, question, tokenizer=index["tokenizer"])
    return Comparison(question, DEFAULT_TOP_K, top_n, Hits(hits, words))
