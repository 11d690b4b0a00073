"""Send events to a gateway without any of Heliograph's own code: the standard library, and PyJWT for the signature.

Reads events from standard input, one JSON object a line and without sequence numbers, asks what may be sent, delivers
them as one range of a new epoch, and prints the gateway's answer. The protocol is in docs/wire.md.

    python examples/send_ndjson.py --gateway https://localhost:8443 --authority authority.pem \
        --instance acme-1 --key instance.pem --vendor-key vendor.keys < examples/events.ndjson

A real sender also keeps the epoch, the numbers and the bytes on its disk until they are acknowledged, as the agent
does: this one forgets them when it is killed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import jwt

ATTEMPTS = 5
LATER = (429, 503, 507)


def post(url: str, body: bytes, headers: dict[str, str], tls: ssl.SSLContext) -> Any:
    """Return the JSON that the gateway answers."""
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, context=tls, timeout=30) as response:
        return json.load(response)


def get_token(gateway: str, instance: str, key: str, tls: ssl.SSLContext) -> str:
    """Prove who we are with a JWT that the instance's key signs (RFC 7523), and return an access token."""
    now = int(time.time())
    claims = {
        "iss": instance,
        "sub": instance,
        "aud": "heliograph-gateway",
        "iat": now,
        "exp": now + 60,
        "jti": secrets.token_hex(16),
    }
    assertion = jwt.encode(claims, key, algorithm="EdDSA")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = post(f"{gateway}/v1/token", urllib.parse.urlencode(form).encode(), headers, tls)
    return str(answer["access_token"])


def may_send(gateway: str, instance: str, token: str, vendor_key: str, tls: ssl.SSLContext) -> bool:
    """Ask what may be sent, and tell whether the vendor's key has signed that events may.

    A real sender also keeps when the policy was issued, and believes none that is older; and it follows the vendor's
    keys when they are replaced (docs/policy.md).
    """
    request = urllib.request.Request(f"{gateway}/v1/policy", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=tls, timeout=30) as response:
        policy = json.load(response)["policy"]
    public_key = f"-----BEGIN PUBLIC KEY-----\n{vendor_key.strip()}\n-----END PUBLIC KEY-----\n"
    found = jwt.PyJWS(algorithms=["EdDSA"]).decode_complete(policy, public_key, algorithms=["EdDSA"])
    statement = json.loads(found["payload"])
    is_for_us = found["header"].get("typ") == "heliograph-policy+jws" and statement["instance"] == instance
    return bool(is_for_us and statement["level"] == "events" and statement["agreement"])


def deliver(gateway: str, token: str, epoch: int, events: list[dict[str, Any]], tls: ssl.SSLContext) -> Any:
    """Deliver `events` as the numbers 1 to n of `epoch`, and return the answer.

    The same range of the same epoch may be sent any number of times: the gateway stores it once.
    """
    lines = [json.dumps({"name": event["name"], "sequence": number, **event}) for number, event in enumerate(events, 1)]
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/x-ndjson",
        "content-encoding": "gzip",
        "heliograph-epoch": str(epoch),
        "heliograph-range": f"1-{len(events)}",
    }
    body = gzip.compress("\n".join(lines).encode())
    attempt = 1
    while True:
        try:
            return post(f"{gateway}/v1/events", body, headers, tls)
        except OSError as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            if attempt == ATTEMPTS or (status is not None and status not in LATER):
                raise
        time.sleep(2**attempt)
        attempt += 1


def main() -> int:
    """Run the program, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", required=True, help="its address, such as https://localhost:8443")
    parser.add_argument("--authority", help="the certificates to trust (PEM); the system's when left out")
    parser.add_argument("--instance", required=True, help="the name that the vendor registered")
    parser.add_argument("--key", required=True, type=Path, help="the instance's Ed25519 private key (PEM)")
    parser.add_argument(
        "--vendor-key", required=True, type=Path, help="a file with the line that `heliograph gateway key` prints"
    )
    options = parser.parse_args()

    tls = ssl.create_default_context(cafile=options.authority)
    events = [json.loads(line) for line in sys.stdin if line.strip()]
    # Unique to this run: 42 bits of milliseconds, then 21 random ones.
    epoch = int(time.time() * 1000) << 21 | secrets.randbits(21)
    try:
        token = get_token(options.gateway, options.instance, options.key.read_text(), tls)
        if not may_send(options.gateway, options.instance, token, options.vendor_key.read_text(), tls):
            print("the vendor's policy does not allow events now: nothing is sent", file=sys.stderr)
            return 1
        answer = deliver(options.gateway, token, epoch, events, tls)
    except jwt.InvalidTokenError as error:
        print(f"the policy is not the vendor's word, so nothing is sent: {error}", file=sys.stderr)
        return 1
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        print(f"{problem['title']}: {problem.get('detail', '')}\n{problem.get('remedy', '')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.gateway} does not answer: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
