"""The certificate of the service, read again when it is replaced."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 30


class Certificate:
    """tls.crt and tls.key of a folder, as in a Secret of type kubernetes.io/tls."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, ssl.SSLError when they cannot be used."""
        self._files = (folder / "tls.crt", folder / "tls.key")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._read = self._contents()
        self.context.load_cert_chain(*self._files)

    async def follow(self) -> None:
        """Read them again for ever: new connections get the new certificate."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Read them again if they have changed."""
        try:
            found = self._contents()
            if found != self._read:
                self.context.load_cert_chain(*self._files)
                self._read = found
                _log.info("the certificate was replaced")
        except (OSError, ssl.SSLError) as error:
            _log.warning("the certificate cannot be read again, the old one stays: %s", error)

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(file.read_bytes() for file in self._files)
