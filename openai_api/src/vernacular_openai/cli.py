"""`python -m vernacular_openai --config FILE --files FOLDER --tls FOLDER --kubernetes URL`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from vernacular_openai import downloads
from vernacular_openai.app import application
from vernacular_openai.config import ConfigError, ServiceConfig, load_config
from vernacular_openai.context import Services
from vernacular_openai.store import FileStore
from vernacular_openai.tls import Certificate

_log = logging.getLogger(__name__)
IN_CLUSTER = "https://kubernetes.default.svc"
_SHUTDOWN_SECONDS = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the service; returns the exit status, 2 for a configuration that cannot be used."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = load_config(options.config)
        certificate = Certificate(options.tls)
        trust = ssl.create_default_context(cafile=str(options.kubernetes_ca))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (OSError, ssl.SSLError) as error:
        sys.stderr.write(f"--tls (a folder with tls.crt and tls.key) or --kubernetes-ca (a file): {error}\n")
        return 2
    asyncio.run(serve(config, certificate, trust, options))
    return 0


async def serve(
    config: ServiceConfig, certificate: Certificate, trust: ssl.SSLContext, options: argparse.Namespace
) -> None:
    """Answer calls until a signal."""
    store = FileStore(options.files, config.files)
    key = downloads.load_key(options.files / ".key")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        services = Services(config, store, key, options.kubernetes.rstrip("/"), session, options.tls / "ca.crt")
        runner = web.AppRunner(
            application(services),
            access_log_format='%r %s %b %Tf "%{User-Agent}i"',
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        following = asyncio.create_task(certificate.follow())
        try:
            await web.TCPSite(runner, options.host, options.port, ssl_context=certificate.context).start()
            for address in runner.addresses:
                _log.info("listening on port %s", address[1])
            await _signal()
        finally:
            following.cancel()
            await runner.cleanup()


async def _signal() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vernacular_openai", description="Serve the OpenAI-compatible fine-tuning API."
    )
    parser.add_argument("--config", type=Path, required=True, help="the service's configuration (YAML)")
    parser.add_argument("--files", type=Path, required=True, help="folder of the uploaded files")
    parser.add_argument("--tls", type=Path, required=True, help="folder with tls.crt, tls.key and, for pods, ca.crt")
    parser.add_argument("--kubernetes", default=IN_CLUSTER, help="address of the API server")
    parser.add_argument("--kubernetes-ca", type=Path, required=True, help="certificate of its authority")
    parser.add_argument("--host", help="address to listen on; default: all")
    parser.add_argument("--port", type=int, default=8443, help="port to listen on; 0: one that is free")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser
