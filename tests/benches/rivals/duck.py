"""DuckDB on Parquet: what a careful user would have instead of a journal. Called by the bench, one process a question.

duck.py parquet NDJSON PARQUET         makes the file, sorted by key, zstd
duck.py state PARQUET SECOND ROUNDS    the state at a second: seconds of each round, and the peak memory
duck.py lookup FILE KEYS               one item's history, for each key of a file, in Parquet or in gzipped lines: seconds of each
"""

import json
import resource
import sys
import time

import duckdb


def lines(source):
    return f"""read_json('{source}', format='newline_delimited', columns={{noteId: 'VARCHAR', seq: 'VARCHAR', second: 'BIGINT',
               kind: 'VARCHAR', ttl: 'BOOLEAN', new: 'VARCHAR', old: 'VARCHAR'}})"""


def main():
    what, *arguments = sys.argv[1:]
    connection = duckdb.connect()
    if what == "parquet":
        source, target = arguments
        connection.execute(
            f"""COPY (SELECT noteId, seq, second, kind, ttl, new, old FROM {lines(source)} ORDER BY noteId, seq)
                TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""
        )
        print(json.dumps({}))
    elif what == "state":
        source, second, rounds = arguments
        seconds, answer = [], None
        for _ in range(int(rounds) + 1):
            begin = time.perf_counter()
            answer = connection.execute(
                f"""SELECT count(*), sum(strlen(image)) FROM (
                    SELECT noteId, arg_max(coalesce(new, ''), seq) AS image FROM read_parquet('{source}')
                    WHERE second <= {second} GROUP BY noteId) WHERE image <> '' AND image <> 'null'"""
            ).fetchone()
            seconds.append(time.perf_counter() - begin)
        # The first round warms up.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds[1:], "peak": peak, "items": answer[0]}))
    elif what == "lookup":
        source, keys = arguments
        with open(keys, encoding="ascii") as file:
            wanted = file.read().split()
        table = f"read_parquet('{source}')" if source.endswith(".parquet") else lines(source)
        seconds, found = [], 0
        for number, key in enumerate(wanted[:1] + wanted):
            begin = time.perf_counter()
            rows = connection.execute(
                f"SELECT seq, second, kind, new, old FROM {table} WHERE noteId = ? ORDER BY seq", [key]
            ).fetchall()
            if number:
                seconds.append(time.perf_counter() - begin)
                found += len(rows)
        print(json.dumps({"seconds": seconds, "found": found}))
    else:
        sys.exit(f"duck.py does not know {what}")


main()
