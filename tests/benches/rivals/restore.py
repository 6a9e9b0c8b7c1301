"""What one would otherwise write items back with. Called by the bench, one process a question; prints the seconds that the writing took.

restore.py boto3 ENDPOINT TABLE ITEMS       the items of a file, a line of DynamoDB JSON each, through a table's batch_writer
restore.py dynamodump ENDPOINT TABLE FOLDER a dump of that table in FOLDER, through dynamodump's restore of data alone
"""

import argparse
import datetime
import json
import logging
import sys
import time

import boto3
from boto3.dynamodb.types import TypeDeserializer

SETTINGS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


def batch_writer(endpoint, name, source):
    table = boto3.resource("dynamodb", endpoint_url=endpoint, **SETTINGS).Table(name)
    plain = TypeDeserializer().deserialize
    with open(source, encoding="utf-8") as file:
        items = [{name: plain(value) for name, value in json.loads(line).items()} for line in file]
    # Reading the items is not counted against it.
    begin = time.perf_counter()
    with table.batch_writer() as writer:
        for item in items:
            writer.put_item(Item=item)
    return time.perf_counter() - begin


def dump(endpoint, name, folder):
    from dynamodump import dynamodump

    logging.disable(logging.INFO)
    client = boto3.client("dynamodb", endpoint_url=endpoint, **SETTINGS)
    dynamodump.args = argparse.Namespace(dumpPath=folder, dataOnly=True, schemaOnly=False, skipThroughputUpdate=True)
    dynamodump.start_time = datetime.datetime.now().replace(microsecond=0)
    begin = time.perf_counter()
    dynamodump.do_restore(client, 1, "dump", name, None, "PAY_PER_REQUEST")
    return time.perf_counter() - begin


def main():
    what, *arguments = sys.argv[1:]
    writers = {"boto3": batch_writer, "dynamodump": dump}
    if what not in writers:
        sys.exit(f"restore.py does not know {what}")
    print(json.dumps({"seconds": writers[what](*arguments)}))


main()
