"""The signing key is replaced: never a moment in which nobody's word counts, and what was signed stays verifiable."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import msgspec
import pytest
from typer.testing import CliRunner

from harness import INSTANCE, Vendor, as_lines, deliver, event, zstd
from heliograph import frames
from heliograph.cli import app
from heliograph.consent.policy import read_policy
from heliograph.consent.trust import follow, read_pins
from heliograph.gateway import rotation
from heliograph.gateway.rotation import endorsements_file, public_keys, read_endorsements, rotate_key
from heliograph.keys import KeyFileError, fingerprint, load_or_create_key, parse_public_key, public_key_text
from heliograph.settings import commented_file
from heliograph.wire import NDJSON, Answer, KeysAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from heliograph.consent.trust import Keys


class PowerCutError(Exception):
    """The machine went off here."""


@pytest.fixture
def signing_key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    load_or_create_key(path)
    return path


def trusted(pin: str, signing_key: Path) -> Keys:
    key = parse_public_key(pin)
    return follow({fingerprint(key): key}, read_endorsements(signing_key))


def test_the_new_key_follows_from_every_one_before_it(signing_key: Path) -> None:
    lines = [public_key_text(load_or_create_key(signing_key))]
    for number in range(3):
        done = rotate_key(signing_key, now=float(number))
        assert public_key_text(done.before) == lines[-1]
        lines.append(public_key_text(done.after))
        assert public_key_text(load_or_create_key(signing_key)) == lines[-1]
    for pin in lines:
        assert fingerprint(parse_public_key(lines[-1])) in trusted(pin, signing_key)
    assert public_keys(signing_key) == lines[::-1]
    assert {path.name for path in signing_key.parent.iterdir()} == {"signing.pem", "signing.endorsements"}
    assert stat.S_IMODE(signing_key.stat().st_mode) == 0o600


def interrupted(step: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> bool:
    """Run, with the power cut at the `step`th thing that reaches the disk; tell whether it came to that."""
    left = [step]

    def counting(whole: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **fields: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCutError
            return whole(*arguments, **fields)

        return call

    with monkeypatch.context() as patch:
        for module, name in (
            (os, "fsync"),
            (os, "link"),
            (Path, "replace"),
            (frames, "write_fully"),
            (rotation, "sync_folder"),
        ):
            patch.setattr(module, name, counting(getattr(module, name)))
        with suppress(PowerCutError):
            run()
    return left[0] < 0


def test_whenever_it_is_interrupted_the_key_in_place_is_trusted_and_the_next_rotation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(100):
        folder = tmp_path / str(step)
        path = folder / "signing.pem"
        pin = public_key_text(load_or_create_key(path))
        cut = interrupted(step, monkeypatch, partial(rotate_key, path, now=1.0))
        in_place = load_or_create_key(path)
        assert fingerprint(in_place) in trusted(pin, path)
        left = (folder / "signing.pem.next").exists()
        was_in_place = public_key_text(in_place)
        waiting = public_key_text(load_or_create_key(folder / "signing.pem.next")) if left else None
        done = rotate_key(path, now=2.0)
        assert public_key_text(done.before) == was_in_place
        assert waiting in (None, public_key_text(done.after))
        assert fingerprint(done.after) in trusted(pin, path)
        assert not (folder / "signing.pem.next").exists()
        if not cut:
            assert step > 5
            return
    pytest.fail("it was always interrupted")


def test_several_rotations_at_once_follow_from_each_other(signing_key: Path) -> None:
    pin = public_key_text(load_or_create_key(signing_key))

    def rotate(number: int) -> str:
        try:
            rotate_key(signing_key, now=float(number))
        except KeyFileError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(rotate, range(12)))
    assert len(public_keys(signing_key)) == 1 + said.count("") > 1
    assert all("another rotation is under way" in each for each in said if each)
    assert fingerprint(load_or_create_key(signing_key)) in trusted(pin, signing_key)


def test_without_a_key_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="heliograph gateway key"):
        rotate_key(tmp_path / "signing.pem", now=0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_restarted_gateway_signs_with_the_new_key_and_refuses_the_old_ones_tokens(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    pins = read_pins(str(vendor.vendor_keys))
    with vendor.running(), vendor.http() as http:
        answer = http.get("/v1/keys", headers={"authorization": ""})
        old = msgspec.json.decode(answer.content, type=KeysAnswer)
        assert (old.key, old.endorsements) == (vendor.vendor_keys.read_text().strip(), [])
        body = zstd(as_lines([event(1)]))
        delivered = deliver(http, body, numbers=(1, 1), content_type=NDJSON)
        authorization = http.headers["authorization"]
        rotate_key(vendor.signing_key, now=1.0)
        # Not before the gateway is started again.
        assert fingerprint(parse_public_key(old.key)) == kid(http.get("/v1/policy").json()["policy"])
    with vendor.running(), vendor.http() as http:
        refused = http.get("/v1/policy", headers={"authorization": authorization})
        assert (refused.status_code, refused.json()["type"]) == (401, "invalid_token")
        client = vendor.client()
        client._token, client._token_until = authorization.removeprefix("Bearer "), float("inf")
        text = client.policy().policy  # which has got itself a new token
        assert client._token != authorization.removeprefix("Bearer ")
        keys = client.keys()
        client.close()
    new = fingerprint(parse_public_key(keys.key))
    assert kid(text) == new != fingerprint(parse_public_key(old.key))
    received = datetime.now(UTC)
    policy = read_policy(text, follow(pins, keys.endorsements), instance=INSTANCE, received=received, latest=None)
    assert policy.agreement == vendor.agreement
    # The receipt of before names its key, which is still known.
    signature = msgspec.json.decode(delivered.content, type=Answer).signature or ""
    by_kid = {fingerprint(parse_public_key(line)): line for line in public_keys(vendor.signing_key)}
    key = parse_public_key(by_kid[kid(signature)])
    assert jwt.PyJWS(algorithms=["EdDSA"]).decode(signature, key, algorithms=["EdDSA"])


def kid(text: str) -> str:
    return str(jwt.get_unverified_header(text)["kid"])


def test_the_verbs_print_keys_and_replace_them(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    file = tmp_path / "vendor.toml"
    file.write_text(commented_file(vendor.settings))

    def run(*words: str) -> list[str]:
        found = CliRunner().invoke(app, ["--config", str(file), "gateway", *words])
        assert found.exit_code == 0, found.output
        return found.stdout.splitlines()

    [first] = run("key")
    assert first == vendor.vendor_keys.read_text().strip()
    [second] = run("rotate-key")
    assert run("key") == [second]
    assert run("key", "--all") == [second, first]
    assert endorsements_file(vendor.signing_key).exists()


def test_the_verb_says_when_there_is_no_key_to_replace(tmp_path: Path) -> None:
    file = tmp_path / "vendor.toml"
    file.write_text("[gateway]\n")
    found = CliRunner().invoke(app, ["--config", str(file), "gateway", "rotate-key"])
    assert found.exit_code == 2
    assert "heliograph gateway key" in found.stderr
    assert "Traceback" not in found.output
