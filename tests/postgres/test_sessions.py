"""Sessions of one server beside each other: none reaches into another, nor into one that has ended."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres.conftest import serving

TOKEN = (
    "SELECT regexp_extract(macro_definition, '[0-9a-f]{32}') FROM duckdb_functions() "
    "WHERE function_name = 'token_count' AND macro_definition IS NOT NULL LIMIT 1"
)
SEARCH = "SELECT count(*) FROM search('chunks', 'glacier ice')"


def test_x1_internal_functions_of_other_sessions(passage_files):
    """A client calls no internal function, whoever's: one of a session that had ended used to end the server."""
    with serving(passage_files["duckdb"], "duckdb") as served, served.connect() as client:
        tokens = [client.execute(TOKEN).fetchone()[0]]
        for _ in range(3):
            with served.connect() as ended:
                tokens.append(ended.execute(TOKEN).fetchone()[0])
        assert len(set(tokens)) == 4
        for token in tokens:
            with pytest.raises(psycopg.Error, match="_sqlrag_token_count"):
                client.execute(f"SELECT _sqlrag_token_count('{token}', 'ice', NULL)")
        assert client.execute(SEARCH).fetchone() == (3,)
        functions = "SELECT count(*) FROM duckdb_functions() WHERE starts_with(function_name, '_sqlrag')"
        before = client.execute(functions).fetchone()
        for _ in range(5):
            with served.connect() as other:
                assert other.execute(SEARCH).fetchone() == (3,)
        assert client.execute(functions).fetchone() == before
