"""Compressed frames of the native protocol.

A frame has the CityHash128 of what follows, the method, the compressed size (with the 9-byte head), the plain size and
the data. Format: https://clickhouse.com/docs/native-protocol/basics#compression. clickhouse-driver reads such frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from backports import zstd
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]
from lz4 import block as lz4  # type: ignore[import-untyped]

from deploy.embedded.clickhouse.errors import EngineError, refusal

CHECKSUM_BYTES = 16
FRAME_HEAD_BYTES = 25
_SIZES = struct.Struct("<BII")
_HALVES = struct.Struct("<QQ")  # the higher half first
# Clients cut their blocks into frames of 1 MiB.
_MAX_FRAME_BYTES = 1 << 24
_MAX_LZ4_RATIO = 255
_MAX_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 24}
_BLOCK_BYTES = 1 << 20
_PLAIN, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_CHECKSUM_DOESNT_MATCH = 40
_UNKNOWN_COMPRESSION_METHOD = 89
_CANNOT_DECOMPRESS = 271

_DECODERS: dict[int, Callable[[bytes, int], bytes]] = {
    _PLAIN: lambda data, _: data,
    _LZ4: lambda data, size: bytes(lz4.decompress(data, uncompressed_size=size)),
    # One byte more than announced is enough to see that the content is too long, and no more is decoded.
    _ZSTD: lambda data, size: zstd.ZstdDecompressor(options=_MAX_WINDOW).decompress(data, size + 1),
}


def frame_length(head: bytes) -> int:
    """Length of a whole frame, bytes, from its first FRAME_HEAD_BYTES.

    Raises:
        EngineError: 89 for an unknown method or an impossible size.
    """
    method, compressed, plain = _SIZES.unpack_from(head, CHECKSUM_BYTES)
    if method not in _DECODERS or not _SIZES.size <= compressed <= _MAX_FRAME_BYTES or plain > _MAX_FRAME_BYTES:
        reason = f"Unknown compression method {method:#x} or frame size {compressed}; use lz4, zstd or none"
        raise refusal(_UNKNOWN_COMPRESSION_METHOD, "UNKNOWN_COMPRESSION_METHOD", reason)
    return CHECKSUM_BYTES + int(compressed)


def decode_frame(frame: bytes) -> bytes:
    """The content of one frame.

    Raises:
        EngineError: 40 if the checksum does not match, 271 if the content does not have the announced size.
    """
    if _checksum(frame[CHECKSUM_BYTES:]) != frame[:CHECKSUM_BYTES]:
        raise refusal(_CHECKSUM_DOESNT_MATCH, "CHECKSUM_DOESNT_MATCH", "Checksum doesn't match: corrupted data")
    method, _, size = _SIZES.unpack_from(frame, CHECKSUM_BYTES)
    packed = frame[FRAME_HEAD_BYTES:]
    if method == _LZ4 and size > _MAX_LZ4_RATIO * len(packed) + 64:
        raise _cannot_decompress(f"{len(packed)} bytes cannot hold {size}")
    try:
        data = _DECODERS[method](packed, size)
    except (zstd.ZstdError, lz4.LZ4BlockError, ValueError) as error:
        raise _cannot_decompress(str(error)) from error
    if len(data) != size:
        raise _cannot_decompress(
            f"the frame announces {size} bytes and holds {'more' if len(data) > size else 'fewer'}"
        )
    return data


def _cannot_decompress(reason: str) -> EngineError:
    return refusal(_CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", f"Cannot decompress: {reason}")


def encode_frames(data: bytes) -> Iterator[bytes]:
    """LZ4 frames of at most 1 MiB of content each."""
    for start in range(0, len(data), _BLOCK_BYTES):
        part = data[start : start + _BLOCK_BYTES]
        packed = lz4.compress(part, store_size=False)
        body = _SIZES.pack(_LZ4, _SIZES.size + len(packed), len(part)) + packed
        yield _checksum(body) + body


def _checksum(data: bytes) -> bytes:
    value: int = CityHash128(data)
    return _HALVES.pack(value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)
