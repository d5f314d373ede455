"""What ``mailframe check`` finds out about the authorities whose certificates are trusted."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

from mailframe.cli.findings import Finding
from mailframe.settings import Settings

# Where pyOpenSSL looks besides, for OpenSSL's own folder may be that of another system.
_USUAL = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs",
)


def of_authorities(settings: Settings) -> Iterator[Finding]:
    """Whether the platform has any authorities."""
    own = ssl.get_default_verify_paths()
    found = next((path for path in (own.cafile, own.capath, *_USUAL) if _holds_any(path)), None)
    if found is not None:
        yield Finding("ok", "authorities", f"those of {found} are trusted")
        return
    policies = "no policy of MTA-STS can be fetched, and " if settings.relay.mta_sts else ""
    yield Finding(
        "warn",
        "authorities",
        f"this machine trusts nobody's certificates: {policies}nothing goes over a route with"
        ' tls = "verify"',
        "install the package ca-certificates, or set SSL_CERT_FILE for the server",
    )


def _holds_any(path: str | None) -> bool:
    if path is None:
        return False
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else os.path.getsize(path) > 0
    except OSError:
        return False
