"""The programs that the documents show, run: against a real gateway where they speak with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import documents
import heliograph
import ledgers
import signing
from documents import REPOSITORY
from harness import INSTANCE, Vendor
from heliograph.consent.agreement import Route
from heliograph.consent.level import Level
from heliograph.keys import load_or_create_key, public_key_text
from heliograph.plan.load import load_plan
from heliograph.registry.store import Registry
from heliograph.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN = REPOSITORY / "plans" / "code-intelligence.yaml"
EVENTS = (REPOSITORY / "examples" / "events.ndjson").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with Vendor(tmp_path_factory.mktemp("vendor"), load_plan(PLAN)).running() as running:
        yield running


def send(
    vendor: Vendor, events: str, instance: str = INSTANCE, pin: Path | None = None
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(REPOSITORY / "examples" / "send_ndjson.py"), "--gateway", vendor.address]
    words = ["--authority", str(vendor.authority_file), "--instance", instance]
    key = ["--key", str(vendor.folder / "instance.pem"), "--vendor-key", str(pin or vendor.vendor_keys)]
    return subprocess.run([*program, *words, *key], input=events, text=True, capture_output=True, check=False)


def test_plain_python_delivers_the_events_of_the_example(vendor: Vendor) -> None:
    done = send(vendor, EVENTS)
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)["receipt"]
    assert receipt["accepted"] == {"SearchSubmitted": 1, "goToDefinition": 1, "SearchNotebookPageViewed": 1}
    assert (receipt["first"], receipt["last"], receipt["rejected"]) == (1, 3, {})


def test_plain_python_is_told_what_to_do_when_it_is_refused(vendor: Vendor) -> None:
    done = send(vendor, EVENTS, instance="nobody")
    assert done.returncode == 1
    assert "heliograph agent key" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_python_sends_nothing_on_a_word_that_is_not_the_vendors(vendor: Vendor, tmp_path: Path) -> None:
    pin = tmp_path / "other.keys"
    pin.write_text(public_key_text(Ed25519PrivateKey.generate()))
    before = len(vendor.entries())
    done = send(vendor, EVENTS, pin=pin)
    assert done.returncode == 1
    assert "not the vendor's word" in done.stderr
    assert len(vendor.entries()) == before


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is not installed")
def test_the_session_with_curl_goes_as_the_page_says(vendor: Vendor, tmp_path: Path) -> None:
    _, *session = documents.blocks("docs/wire.md", "sh")  # the first sets the variables
    environment = os.environ | {
        "GATEWAY": vendor.address,
        "AUTHORITY": str(vendor.authority_file),
        "INSTANCE": INSTANCE,
        "KEY": str(vendor.folder / "instance.pem"),
    }
    script = "\necho\n".join(["set -eu -o pipefail", *session])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    policy, answer, account = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert policy["level"] == "events"
    assert answer["receipt"]["accepted"] == {"SearchSubmitted": 1}
    assert account["latest"][str(answer["receipt"]["epoch"])] == answer["receipt"]


def test_an_export_of_records_is_verified_as_the_page_says(tmp_path: Path) -> None:
    settings = RegistrySettings(url=f"sqlite:///{tmp_path / 'registry.db'}")
    terms: dict[str, Any] = {"terms_version": "2026-05", "terms_digest": "0a" * 32}
    with Registry.open(settings) as registry:
        registry.add_account("acme")
        registry.add_agreement("acme", route=Route.ORDER_FORM, document="OF-1 Zürich", recorded_by="legal", **terms)
        registry.set_override("acme", Level.CRITICAL, reason="asked for in ticket 512")
        registry.set_override("acme", Level.EVENTS, reason="taken back")
        head = registry.snapshot().head("acme")
    environment = os.environ | {"HELIOGRAPH_REGISTRY_URL": settings.url}
    words = [sys.executable, "-m", "heliograph.cli", "registry", "export", "acme"]
    lines = subprocess.run(words, env=environment, capture_output=True, check=True).stdout.decode().splitlines()
    [program] = documents.blocks("docs/consent.md", "python")

    def verified(lines: list[str]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "acme.jsonl"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return subprocess.run([sys.executable, "-c", program, file], text=True, capture_output=True, check=False)

    assert verified(lines).stdout == f"{head}\n"
    for number, changed in (
        (2, [lines[0], lines[1].replace("512", "513"), lines[2]]),
        (2, [lines[0], lines[2]]),
        (1, [lines[1], lines[0], lines[2]]),
    ):
        done = verified(changed)
        assert (done.returncode, done.stderr) == (1, f"record {number} is not what was recorded\n")


def test_a_receipt_is_checked_as_the_page_says(vendor: Vendor) -> None:
    names: dict[str, Any] = {}
    for block in documents.blocks("docs/wire.md", "python"):
        exec(block, names)
    answer = json.loads(send(vendor, EVENTS).stdout)
    public = load_or_create_key(vendor.folder / "signing.pem").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert names["read_receipt"](answer["signature"], pem) == answer["receipt"]
    header, payload, signature = answer["signature"].split(".")
    for forged in (f"{header}.{payload[:-4]}AAAA.{signature}", f"{header}.{payload}.{signature[:-8]}AAAAAAAA"):
        with pytest.raises(jwt.InvalidTokenError):
            names["read_receipt"](forged, pem)
    # What the same key signed for another purpose is no receipt.
    token = vendor.http().headers["authorization"].removeprefix("Bearer ")
    with pytest.raises(jwt.InvalidTokenError):
        names["read_receipt"](token, pem)


def test_a_ledger_is_verified_as_the_page_says() -> None:
    names: dict[str, Any] = {}
    for block in documents.blocks("docs/ledger.md", "python"):
        exec(block, names)
    public = ledgers.VENDOR.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    book = ledgers.Book()
    book.refuse(book.send(1, 2))
    for _ in range(3):
        book.deliver(1, 2, 1)
    lines = [line.decode() for line in book.lines()]
    assert names["verify"](lines, public) == []
    for number in range(1, len(lines)):
        missing = names["verify"](lines[:number] + lines[number + 1 :], public)
        assert missing[0] in (f"entry {number} is missing, or stands in another place", "the end is missing")
        changed = lines[number].replace('"time":17', '"time":18')
        assert names["verify"]([*lines[:number], changed, *lines[number + 1 :]], public) == [
            f"entry {number} was changed"
        ]
    other = load_or_create_key_pem()
    assert "the vendor has not signed its receipt" in names["verify"](lines, other)[0]


def load_or_create_key_pem() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_a_policy_is_checked_as_the_page_says(vendor: Vendor) -> None:
    names: dict[str, Any] = {}
    for block in documents.blocks("docs/wire.md", "python"):
        exec(block, names)
    public = load_or_create_key(vendor.signing_key).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with vendor.http() as http:
        policy = http.get("/v1/policy").json()["policy"]
    statement = names["read_policy"](policy, INSTANCE, pem)
    assert (statement["level"], statement["agreement"]) == ("events", vendor.agreement)
    header, payload, signature = policy.split(".")
    stranger = signing.policy(Ed25519PrivateKey.generate())
    for forged in (f"{header}.{payload[:-4]}AAAA.{signature}", stranger):
        with pytest.raises(jwt.InvalidTokenError):
            names["read_policy"](forged, INSTANCE, pem)
    with pytest.raises(jwt.InvalidTokenError, match="another instance"):
        names["read_policy"](policy, "acme-2", pem)
    # What the same key signed for another purpose is no policy.
    receipt = json.loads(send(vendor, EVENTS).stdout)["signature"]
    with pytest.raises(jwt.InvalidTokenError, match="no policy"):
        names["read_policy"](receipt, INSTANCE, pem)


def test_the_events_on_the_wire_page_are_accepted(vendor: Vendor) -> None:
    [block] = [block for block in documents.blocks("docs/wire.md", "json") if "sequence" in block]
    without_numbers = [json.loads(line) | {"sequence": None} for line in block.splitlines()]
    lines = [json.dumps({key: value for key, value in each.items() if value is not None}) for each in without_numbers]
    receipt = json.loads(send(vendor, "\n".join(lines)).stdout)["receipt"]
    assert sum(receipt["accepted"].values()) == len(lines)


def test_the_page_about_recording_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plans").symlink_to(PLAN.parent)
    monkeypatch.chdir(tmp_path)
    blocks = documents.blocks("docs/recording.md", "python")
    assert len(blocks) > 3
    names: dict[str, Any] = {}
    heliograph.configure(None)
    try:
        for block in blocks:
            exec(block, names)
        names["test_a_search_is_recorded"]()
    finally:
        names["recorder"].close()
        heliograph.configure(None)
