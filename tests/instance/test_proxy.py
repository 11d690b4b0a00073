"""Through a real proxy: TLS stays end to end, credentials are said to nobody else, and one that is away only delays."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from connect_proxy import connect_proxy
from harness import CANARY, INSTANCE, SMALL_PLAN, Vendor
from heliograph.demo.home import free_port
from heliograph.instance.agent import Agent
from heliograph.instance.recorder import Recorder
from heliograph.instance.transport import GatewayClient, UnreachableError
from heliograph.keys import load_or_create_key
from heliograph.settings import AgentSettings
from heliograph.settings.masking import masked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER_AND_WORD = "customer:a-secret-word"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with Vendor(tmp_path_factory.mktemp("vendor")).running() as vendor:
        yield vendor


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def client(vendor: Vendor, **agent: Any) -> GatewayClient:
    settings = AgentSettings(
        gateway=vendor.address, certificate_authority=str(vendor.authority_file), instance=INSTANCE, **agent
    )
    return GatewayClient(settings, load_or_create_key(vendor.folder / "instance.pem"))


@pytest.mark.parametrize("credentials", ["", USER_AND_WORD])
def test_events_go_through_a_tunnel_that_shows_the_proxy_nothing_of_them(
    vendor: Vendor, tmp_path: Path, credentials: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with connect_proxy(credentials) as proxy:
        address = f"http://{credentials}{'@' if credentials else ''}127.0.0.1:{proxy.port}"
        settings = vendor.agent_settings(tmp_path, proxy=address)
        assert USER_AND_WORD.split(":")[1] not in str(masked(settings).agent.proxy)
        recorder = Recorder(settings.recorder)
        recorder.record("PageViewed", user=CANARY)
        recorder.close()
        before = len(vendor.entries())
        agent = Agent(settings, SMALL_PLAN)
        agent.run(threading.Event(), until_drained=True)
        agent.close()
        assert len(vendor.entries()) == before + 1
        assert set(proxy.asked) == {f"CONNECT localhost:{vendor.port}"}
        for private in (b"heliograph-epoch", b"Bearer", INSTANCE.encode(), b"/v1/"):
            assert private not in bytes(proxy.seen) + b"".join(proxy.heads)
        assert b"localhost" in bytes(proxy.seen)  # the name in the certificate's request: a proxy does see that
    said = capfd.readouterr()
    assert "a-secret-word" not in said.out + said.err


@pytest.mark.parametrize("given", ["", "customer:another-word@"])
def test_a_proxy_that_refuses_the_credentials_is_told_without_them_and_nothing_goes_around_it(
    vendor: Vendor, given: str
) -> None:
    with connect_proxy(USER_AND_WORD) as proxy:
        through = client(vendor, proxy=f"http://{given}127.0.0.1:{proxy.port}")
        with pytest.raises(UnreachableError, match="proxy") as found:
            through.policy()
        through.close()
        assert "407" in str(found.value)
        assert "another-word" not in str(found.value)
        assert proxy.seen == b""


def test_a_proxy_that_is_down_only_delays(vendor: Vendor) -> None:
    through = client(vendor, proxy=f"http://customer:another-word@127.0.0.1:{free_port()}")
    with pytest.raises(UnreachableError) as found:
        through.policy()
    assert "another-word" not in str(found.value)
    through.close()


def test_without_the_setting_the_environment_decides_and_none_means_none(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        for agent, asked in (({}, 1), ({"proxy": "none"}, 1)):
            through = client(vendor, **agent)
            assert through.policy().policy
            through.close()
            assert len(proxy.asked) == asked
        monkeypatch.setenv("NO_PROXY", "localhost")
        through = client(vendor)
        assert through.policy().policy
        through.close()
        assert len(proxy.asked) == 1
