"""Walking a Native block's types ends exactly where the block does, for whatever the engine formats."""

from __future__ import annotations

import pytest

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.native_format.packets import varint
from deploy.embedded.clickhouse.native_format.skipper import skip_block
from deploy.embedded.clickhouse.native_format.source import ByteSource, EmptyFeed
from tests.node.conftest import NodeProcess

TYPES = """UInt8; Int256; Float32; Bool; UUID; IPv4; IPv6; Date; Date32; DateTime('UTC'); DateTime64(9, 'UTC');
    Enum8('a,b' = 1, 'c(' = 2); Enum16('x' = 1); Decimal(9, 2); Decimal(18, 4); Decimal(38, 18); Decimal(76, 1);
    String; FixedString(7); Nullable(String); Array(Array(Nullable(String))); Map(String, Array(UInt8));
    Tuple(UInt8, String); Tuple(a UInt8, `b c` Array(LowCardinality(String))); LowCardinality(Nullable(String));
    Array(LowCardinality(FixedString(3))); Array(Tuple(a UInt8, b Nullable(String))); Point; Polygon;
    Map(LowCardinality(String), Tuple(x Nullable(Decimal(38, 18)), y Array(UInt16)))"""


class Drip:
    """A feed that gives a few bytes at a time, as a socket may."""

    def __init__(self, data: bytes, step: int) -> None:
        self.pieces = iter([data[start : start + step] for start in range(0, len(data), step)])

    def more(self) -> bytes:
        return next(self.pieces)


@pytest.mark.parametrize("type_name", [name.strip() for name in TYPES.split(";")])
def test_the_end_of_a_block_is_found(node: NodeProcess, type_name: str) -> None:
    structure = f"before UInt8, tested {type_name}, after String".replace("'", "\\'")
    for rows in (1, 300):
        sql = f"SELECT * FROM generateRandom('{structure}', 7, 150, 4) LIMIT {rows} FORMAT Native"
        block = node.curl("--data-binary", sql, node.url).stdout
        assert not block.startswith(b"Code:"), block
        for source in (ByteSource(EmptyFeed(), block), ByteSource(Drip(block, 7))):
            end = 0
            while end < len(block):
                columns, _ = skip_block(source)
                assert [column.name for column in columns] == ["before", "tested", "after"]
                end = source.position
            assert end == len(block)


def test_a_type_without_a_known_layout_is_refused() -> None:
    name = b"AggregateFunction(uniq, String)"
    block = varint(1) + varint(1) + varint(1) + b"a" + varint(len(name)) + name
    with pytest.raises(EngineError) as failure:
        skip_block(ByteSource(EmptyFeed(), block))
    assert failure.value.code == 48


def test_dynamic_in_dynamic_is_of_bounded_depth() -> None:
    """The types of such a column are in its data: 20 kB of it once were more frames than the stack has."""
    level = (2).to_bytes(8, "little") + varint(1) + varint(14) + b"Array(Dynamic)" + bytes(8)
    block = varint(1) + varint(1) + varint(1) + b"a" + varint(7) + b"Dynamic" + level * 10_000
    with pytest.raises(EngineError) as failure:
        skip_block(ByteSource(EmptyFeed(), block))
    assert failure.value.code == 50
