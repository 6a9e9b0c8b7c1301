"""Reads what a restore wrote with readers that are not ours, and compares it with a reference.

    check.py FORMAT OUTPUT REFERENCE [TABLE]

REFERENCE has one item a line, in DynamoDB JSON. OUTPUT is a file, or for the format `table` the URL of a DynamoDB. The rules by
which files are read are those of SEMANTICS.md, "Export formats". Prints `equal N`, or the first differences and fails.
"""

import base64
import csv
import gzip
import json
import sqlite3
import sys
import urllib.request
from decimal import Context, Decimal

EXACT = Context(prec=60)


def number(text):
    return EXACT.create_decimal(text)


def typed(value):
    """A DynamoDB JSON value as something that compares by value and can be in a set."""
    ((kind, content),) = value.items()
    if kind == "N":
        return ("N", number(content))
    if kind == "B":
        return ("B", base64.b64decode(content))
    if kind == "SS":
        return ("SS", frozenset(content))
    if kind == "NS":
        return ("NS", frozenset(number(member) for member in content))
    if kind == "BS":
        return ("BS", frozenset(base64.b64decode(member) for member in content))
    if kind == "M":
        return ("M", item(content))
    if kind == "L":
        return ("L", tuple(typed(member) for member in content))
    return (kind, content)


def item(attributes):
    return frozenset((name, typed(value)) for name, value in attributes.items())


def dynamodb_json(path):
    opened = gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8")
    with opened as lines:
        for line in lines:
            document = json.loads(line)
            assert list(document) == ["Item"], line
            yield item(document["Item"])


def document(value):
    """Plain JSON of a map or list, for those without sets and bytes."""
    if value is None:
        return ("NULL", True)
    if isinstance(value, bool):
        return ("BOOL", value)
    if isinstance(value, Decimal):
        return ("N", value)
    if isinstance(value, str):
        return ("S", value)
    if isinstance(value, list):
        return ("L", tuple(document(member) for member in value))
    return ("M", frozenset((name, document(member)) for name, member in value.items()))


def loads(text):
    return json.loads(text, parse_int=number, parse_float=number)


def cell(kind, value):
    if kind == "S":
        return ("S", value)
    if kind == "N":
        return ("N", number(repr(value) if isinstance(value, float) else str(value)))
    if kind == "B":
        return ("B", bytes(value))
    if kind == "BOOL":
        return ("BOOL", bool(value))
    if kind == "SS":
        return ("SS", frozenset(loads(value)))
    if kind == "NS":
        return ("NS", frozenset(loads(value)))
    if kind == "BS":
        return ("BS", frozenset(base64.b64decode(member) for member in loads(value)))
    if kind == "JSON":
        return document(loads(value))
    assert kind == "DynamoDB JSON", kind
    return typed(json.loads(value))


def rows(names, columns, records):
    """Typed columns as items; `columns` gives attribute and type by column."""
    for record in records:
        found, exact = {}, None
        for name, value in zip(names, record):
            if name == "_dynamodb":
                exact = value
            elif value is not None:
                attribute, kind = columns[name]
                found[attribute] = cell(kind, value)
        if exact is not None:
            found.update((name, typed(value)) for name, value in json.loads(exact).items())
        yield frozenset(found.items())


def sqlite(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    about = dict(database.execute("SELECT name, value FROM _journal"))
    columns = {column: (attribute, kind) for attribute, column, kind in database.execute("SELECT * FROM _columns")}
    selected = database.execute(f'SELECT * FROM "{about["table"]}"')
    names = [column[0] for column in selected.description]
    found = list(rows(names, columns, selected))
    assert int(about["items"]) == len(found)
    return found


def parquet(path):
    import duckdb

    metadata = {
        bytes(key).decode(): bytes(value).decode()
        for key, value in duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [path]).fetchall()
    }
    columns = {c["column"]: (c["attribute"], c["type"]) for c in json.loads(metadata["journal.columns"])}
    selected = duckdb.execute("SELECT * FROM read_parquet(?)", [path])
    names = [column[0] for column in selected.description]
    found = list(rows(names, columns, selected.fetchall()))
    assert int(metadata["journal.items"]) == len(found)
    return found


def table(endpoint, name):
    start = None
    while True:
        request = {"TableName": name, "ConsistentRead": True}
        if start:
            request["ExclusiveStartKey"] = start
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "DynamoDB_20120810.Scan",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        body = json.dumps(request).encode()
        opened = urllib.request.urlopen(urllib.request.Request(endpoint, body, headers))
        answer = json.loads(opened.read())
        for found in answer["Items"]:
            yield item(found)
        start = answer.get("LastEvaluatedKey")
        if not start:
            return


def plain(value):
    """What plain JSON makes of a typed value: types are lost."""
    kind, content = value
    if kind == "B":
        return base64.b64encode(content).decode()
    if kind == "BS":
        return frozenset(base64.b64encode(member).decode() for member in content)
    if kind == "M":
        return frozenset((name, plain(member)) for name, member in content)
    if kind == "L":
        return tuple(plain(member) for member in content)
    return None if kind == "NULL" else content


def same(found, value):
    """Whether parsed plain JSON is what a typed value becomes."""
    kind, content = value
    if kind == "M":
        content = dict(content)
        return isinstance(found, dict) and found.keys() == content.keys() and all(
            same(found[name], content[name]) for name in content)
    if kind == "L":
        return isinstance(found, list) and len(found) == len(content) and all(map(same, found, content))
    if kind in ("SS", "NS", "BS"):
        return isinstance(found, list) and frozenset(found) == plain(value)
    return found == plain(value) and isinstance(found, bool) == (kind == "BOOL")


def check_json(path, reference):
    with open(path, encoding="utf-8") as lines:
        found = [loads(line) for line in lines]
    # Lines come in the order of keys, as the reference does.
    assert len(found) == len(reference), (len(found), len(reference))
    for line, expected in zip(found, reference):
        assert same(line, ("M", expected)), (line, expected)
    return len(found)


def check_csv(path, reference):
    csv.field_size_limit(1 << 30)
    with open(path, encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        names = next(reader)
        found = list(reader)
    assert len(found) == len(reference), (len(found), len(reference))
    for line, expected in zip(found, reference):
        expected = dict(expected)
        assert expected.keys() <= set(names)
        for name, text in zip(names, line):
            if name not in expected:
                assert text == "", (name, text)
                continue
            kind, content = expected[name]
            if kind == "S":
                assert text == content, (name, text)
            elif kind == "N":
                assert number(text) == content, (name, text)
            elif kind == "NULL":
                assert text == "null"
            elif kind == "BOOL":
                assert text == str(content).lower()
            elif kind == "B":
                assert base64.b64decode(text) == content
            else:
                assert same(loads(text), expected[name]), (name, text)
    return len(found)


def main(kind, output, reference, name=None):
    with open(reference, encoding="utf-8") as lines:
        expected = [item(json.loads(line)) for line in lines]
    if kind == "json":
        return print("equal", check_json(output, expected))
    if kind == "csv":
        return print("equal", check_csv(output, expected))
    readers = {"dynamodb-json": dynamodb_json, "sqlite": sqlite, "parquet": parquet}
    found = list(table(output, name) if kind == "table" else readers[kind](output))
    assert len(found) == len(set(found)) and len(expected) == len(set(expected)), "an item is there twice"
    missing, more = set(expected) - set(found), set(found) - set(expected)
    if missing or more:
        for words, items in (("missing", missing), ("not expected", more)):
            for one in sorted(map(str, items))[:3]:
                print(words, one[:1000])
        sys.exit(1)
    print("equal", len(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
