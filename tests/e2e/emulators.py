"""Loads files of Singer messages with a target into an emulator of its warehouse, and prints the rows after each.

`test_targets` runs it in an environment of the target and the emulator: `python emulators.py NAME SETTINGS FILE…`.
"""

# ruff: noqa: PLC0415, S608, T201

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def use_snowflake(stack: ExitStack) -> tuple[type, Callable[[str], Rows]]:
    """Use fakesnow, which has neither stages nor the target's MERGE: two tables take their place."""
    import fakesnow
    import snowflake.connector
    from sqlalchemy import text
    from target_snowflake.connector import SnowflakeConnector
    from target_snowflake.target import TargetSnowflake

    stage, batch = "warehouse.wootric.stage", "warehouse.wootric.batch"

    def put(self: Any, sync_id: str, files: list[str]) -> None:  # noqa: ARG001
        content = b"".join(gzip.decompress(Path(file.removeprefix("file://")).read_bytes()) for file in files)
        rows = b"[" + b",".join(content.strip().split(b"\n")) + b"]"
        select = "SELECT index AS seq, value AS v FROM TABLE(FLATTEN(PARSE_JSON(:rows)))"
        with self.connect() as connection, connection.begin():
            connection.execute(text(f"CREATE OR REPLACE TABLE {stage} AS {select}"), {"rows": rows.decode()})

    def merge(self: Any, full_table_name: str, sync_id: str, file_format: str, **arguments: Any) -> int:
        merge, _ = self._get_merge_from_stage_statement(
            full_table_name, sync_id=sync_id, file_format=file_format, **arguments
        )
        source, _, rest = str(merge).partition(" using ")[2].partition(" s on ")
        source = source.replace(f"'@~/target-snowflake/{sync_id}'(file_format => {file_format})", stage)
        source = source.replace("$1:", "v:").replace("SEQ8()", "seq")
        condition = rest.partition(" when ")[0]
        columns, _, values = rest.partition("then insert ")[2].partition(" values ")
        with self.connect() as connection, connection.begin():
            connection.execute(text(f"CREATE OR REPLACE TABLE {batch} AS {source[1:-1]}"))
            connection.execute(text(f"DELETE FROM {full_table_name} d USING {batch} s WHERE {condition}"))
            connection.execute(text(f"INSERT INTO {full_table_name} {columns} SELECT {values[1:-1]} FROM {batch} s"))
        return 0

    def read(table: str) -> Rows:
        cursor.execute(f"SELECT * FROM {table}")
        names = [column[0].lower() for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    stack.enter_context(fakesnow.patch())
    cursor = snowflake.connector.connect(database="warehouse", schema="wootric").cursor()
    SnowflakeConnector.put_batches_to_stage = put
    SnowflakeConnector.merge_from_stage = merge
    for name in ("create_file_format", "drop_file_format", "remove_staged_files"):
        setattr(SnowflakeConnector, name, lambda *_, **__: None)
    return TargetSnowflake, read


def use_s3(stack: ExitStack) -> tuple[type, Callable[[str], Rows]]:
    import boto3
    from moto import mock_aws
    from target_s3.target import Targets3

    def read(stream: str) -> Rows:
        items = [item for item in bucket.objects.all() if f"/{stream}/" in f"/{item.key}"]
        files = [gzip.decompress(item.get()["Body"].read()) for item in items]
        return [json.loads(line) for file in files for line in file.split(b"\n")]

    stack.enter_context(mock_aws())
    bucket = boto3.resource("s3", region_name="us-east-1").create_bucket(Bucket="wootric")
    return Targets3, read


def main(name: str, settings: str, *files: str) -> None:
    with ExitStack() as stack:
        target_class, read = {"snowflake": use_snowflake, "s3": use_s3}[name](stack)
        for file in files:
            target = target_class(config=json.loads(Path(settings).read_text()))
            target.max_parallelism = 1
            target.listen(io.StringIO(Path(file).read_text()))
            print(json.dumps(read("responses"), default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
