"""What a filter costs, by the share of the chunks that it lets through.

    python benchmarks/index_filters.py --database FILE.db --vectors FILE.npy [--write]

FILE.db: as benchmarks/growth.py keeps one, of vectors of FILE.npy, of which the last are the queries; it gets a column
`bucket` of random numbers from 0 to 9,999 and an index on it, once. Each query is asked without a filter and then with
one, so that both run beside the same other work; the time with a filter is that of `vector_top_k()` less the embedding:
the filter is checked, evaluated and searched with. "to list": what SQLite itself takes for the ids that pass, without
any work of ours. Recall is against all distances to the chunks that pass.
"without an index": the same filter, of a column that SQLite must read row by row. --write puts the table into
index_filters.md, and its rows into index_filters.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from evaluation import write
from index_vectors import K

from sqlrag.engines.sqlite.functions import SQLiteIndexes, load_vec
from sqlrag.store.driver.opening import open_sqlite
from sqlrag.store.registry import Registry
from sqlrag.store.stored_vectors import joined, stored_blocks

RESULTS = Path(__file__).with_suffix(".md")
BUCKETS = 10_000
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0)
CONDITIONS = {"with an index": "bucket < {}", "without an index": "+bucket < {}"}
ASKED = 60


def timed(function) -> tuple[float, list[tuple[int, float, int]]]:
    """Return the milliseconds of a call, and its rows."""
    started = time.perf_counter()
    rows = function()
    return (time.perf_counter() - started) * 1000, rows


def add_buckets(connection) -> None:
    """Give the documents a column to filter by, unless they have it."""
    if not list(connection.execute("SELECT 1 FROM pragma_table_info('documents') WHERE name = 'bucket'")):
        connection.execute("ALTER TABLE documents ADD COLUMN bucket INTEGER")
        # Scattered, and the same each time: Knuth's multiplicative hash of the id.
        connection.execute(f"UPDATE documents SET bucket = (id * 2654435761 % 4294967296) * {BUCKETS} / 4294967296")
        connection.execute("CREATE INDEX documents_bucket ON documents (bucket)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help=f"put the results into {RESULTS.name} and .json")
    options = parser.parse_args()
    connection = open_sqlite(str(options.database), must_exist=True)
    load_vec(connection)
    add_buckets(connection)
    queries = np.array(np.load(options.vectors, mmap_mode="r")[-ASKED:])
    indexes, record = SQLiteIndexes(connection), Registry(connection).look().get("chunks")
    blocks = [(ids, queries @ found.T) for ids, found in joined(stored_blocks(connection, record), 65_536)]
    ids, products = np.concatenate([one for one, _ in blocks]), np.concatenate([one for _, one in blocks], axis=1)
    sql = "SELECT chunks.id, bucket FROM chunks JOIN documents ON documents.id = source_id"
    bucket_of = dict(connection.execute(sql))
    buckets = np.array([bucket_of[id_] for id_ in ids.tolist()])
    index = indexes.open("chunks")
    table = [
        "| share | filter | p50, ms | to list, ms | the rest, of the unfiltered | recall@25 |",
        "| --: | --- | --: | --: | --: | --: |",
    ]
    print(*table, sep="\n")
    measured = []
    for share in SHARES:
        for kind, condition in CONDITIONS.items():
            expression = condition.format(round(share * BUCKETS))
            places = np.flatnonzero(buckets < round(share * BUCKETS))
            plain, filtered, listed, found, there = [], [], [], 0, 0
            for query, row in zip(queries, products, strict=True):
                vector = query.tobytes()
                plain.append(timed(lambda v=vector: index.vector_top_k(v, K))[0])
                taken, rows = timed(
                    lambda v=vector, e=expression: index.vector_top_k(v, K, indexes.matching(record, e, {}))
                )
                filtered.append(taken)
                listing = indexes.matching(record, expression, {})
                listed.append(
                    timed(lambda m=listing: list(connection.execute(f"SELECT count(id) FROM ({m.select})")))[0]
                )
                of_them = row[places]
                wanted = min(K, len(places))
                near = ids[places[np.argpartition(-of_them, wanted - 1)[:wanted]]]
                found += len({id_ for id_, _, _ in rows} & set(near.tolist()))
                there += wanted
            taken, to_list, recall = median(filtered), median(listed), found / there
            ratio = (taken - to_list) / median(plain)
            row = {"share": share, "filter": kind, "ms": taken, "list_ms": to_list, "ratio": ratio, "recall": recall}
            measured.append(row)
            table.append(f"| {share:.2%} | {kind} | {taken:.1f} | {to_list:.1f} | {ratio:.1f} | {recall:.3f} |")
            print(table[-1], flush=True)
    table += ["", f"{len(ids):,} chunks, {ASKED} queries, 25 rows each."]
    if options.write:
        write(RESULTS, table, measured)


if __name__ == "__main__":
    main()
