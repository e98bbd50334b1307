"""Why a store isn't reached over TLS, and what helps. redis-py's words don't tell."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio.sentinel
import redis.sentinel

from gate.store.failures import one_line
from gate.values.errors import StoreUnavailable, cut

# Since Python 3.13 ssl is strict by itself (VERIFY_X509_STRICT). These are OpenSSL's own words.
_NOT_STRICT: Final = re.compile(
    "CA cert does not include key usage extension|Basic Constraints of CA cert not marked critical"
    "|Missing (?:Authority|Subject) Key Identifier"
)
_REMEDY: Final = (
    "Python 3.13 and later take no certificate like this: make the authority anew with "
    "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign, "
    "and the server's certificate by it"
)
_NO_TLS: Final = "the host may be away, or the port not speak TLS, which rediss:// asks for"
_NO_FILE: Final = re.compile(r"\bError (?:2|13) connecting to ")
_TIMED_OUT: Final = "Timeout connecting to server"
"""Of the handshake, too; never of what comes behind it."""
_NO_MASTER: Final = (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_LONGEST: Final = 200


def unreached(error: BaseException, settings: Mapping[str, Any], late: str = "") -> StoreUnavailable:
    """The failure of a connection that wasn't made. `settings`: its own. `late`: what an error without words says."""
    said = one_line(error) or late
    why = certificate_remedy(error)
    if not why and "ssl_check_hostname" in settings:  # redis-py has it of every connection with TLS, and of no other
        why = _of_tls(error, settings)
    return StoreUnavailable(f"{said.rstrip('.')}; {why}" if why else said)


def certificate_remedy(error: BaseException) -> str:
    """What to do about a certificate that only Pythons before 3.13 take; empty for any other failure."""
    return _REMEDY if _NOT_STRICT.search(str(error)) else ""


def _of_tls(error: BaseException, settings: Mapping[str, Any]) -> str:
    said = str(error)
    # Of a sentinel that wasn't reached, redis-py has no words.
    if _NO_FILE.search(said) or isinstance(error, _NO_MASTER):
        for option in _FILES:
            file = settings.get(option)
            if isinstance(file, str) and not os.access(file, os.R_OK):
                return f"the file of {option} can't be read: {cut(file, _LONGEST)}"
    return _NO_TLS if _TIMED_OUT in said else ""
