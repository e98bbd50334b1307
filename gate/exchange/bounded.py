"""Answers of bounded size: a few hundred kilobytes of gzip can hold gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

from aiohttp import ClientPayloadError, ClientResponse

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of an answer's body, unpacked. The longest, exchangeInfo, has less than two million."""
ACCEPTED: Final = "gzip"
"""What the exchange may pack an answer with."""
_GZIP: Final = zlib.MAX_WBITS | 16


class BoundedResponse(ClientResponse):
    """Reads a body of no more than LARGEST bytes. For a session that doesn't unpack by itself: it would do so first."""

    async def read(self) -> bytes:
        if self._body is None:
            try:
                self._body = await self._bounded()
            except BaseException:
                self.close()
                raise
        return await super().read()

    async def _bounded(self) -> bytes:
        packed = self.headers.get("Content-Encoding", "").strip().lower()
        if packed not in ("", "identity", ACCEPTED):
            raise ClientPayloadError("the answer is packed in a way that wasn't asked for")
        unpacking = zlib.decompressobj(_GZIP) if packed == ACCEPTED else None
        body = bytearray()
        async for chunk in self.content.iter_any():
            try:
                body += chunk if unpacking is None else unpacking.decompress(chunk, LARGEST + 1 - len(body))
            except zlib.error:
                raise ClientPayloadError("the answer can't be unpacked") from None
            if len(body) > LARGEST:
                raise ClientPayloadError(f"the answer is longer than {LARGEST} bytes")
        if unpacking is not None and not unpacking.eof:
            raise ClientPayloadError("the answer ends too early")
        return bytes(body)
