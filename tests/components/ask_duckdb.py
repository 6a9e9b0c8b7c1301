"""Answers questions with DuckDB: `ask_duckdb.py QUERIES ROWS`, QUERIES a JSON list of statements, ROWS newline-delimited JSON or Parquet.

Prints a JSON list with each answer as a list of objects. The functions that `replay sql` has are made of DuckDB's own.
"""

import json
import re
import sys

import duckdb

MACROS = """
CREATE MACRO json_get(j, p) AS json_extract_string(j, '$.' || p);
CREATE MACRO json_number(j, p) AS CAST(json_extract_string(j, '$.' || p) AS DOUBLE);
CREATE MACRO json_length(j, p) AS json_array_length(j, '$.' || p);
CREATE MACRO json_kind(j, p) AS CASE json_type(j, '$.' || p) WHEN 'OBJECT' THEN 'object' WHEN 'VARCHAR' THEN 'string'
  WHEN 'UBIGINT' THEN 'number' WHEN 'BIGINT' THEN 'number' ELSE 'another' END;
CREATE MACRO sequence_order(s) AS lpad(s, 40, '0');
"""


def main():
    queries, rows = sys.argv[1:]
    connection = duckdb.connect()
    connection.execute(MACROS)
    if rows.endswith(".parquet"):
        source = f"read_parquet('{rows}')"
    else:
        text = {name: "VARCHAR" for name in ("table", "timeline", "sequence", "second", "kind", "path", "old", "new")}
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in text.items())
        source = f"read_json('{rows}', format = 'newline_delimited', columns = {{{columns}}})"
    connection.execute(
        'CREATE TABLE changes AS SELECT "table", timeline, sequence, CAST(second AS TIMESTAMP) AS second, kind, path, old, new '
        f"FROM {source}"
    )
    answers = []
    for query in json.load(open(queries, encoding="utf-8")):
        query = re.sub(r"CAST\((\S+\(.*?\)) AS BIGINT\)", r"CAST(epoch(\1) AS BIGINT)", query)
        query = query.replace("json_type(", "json_kind(")
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows_found = []
        for row in cursor.fetchall():
            found = dict(zip(names, row))
            for name in ("old", "new"):
                if isinstance(found.get(name), str):
                    found[name] = json.loads(found[name])
            rows_found.append(found)
        answers.append(rows_found)
    json.dump(answers, sys.stdout)


main()
