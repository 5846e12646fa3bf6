"""TLS as options ask for it: whom we trust, who we are, which name and version, and one context for equal options."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from runtime.adapters.tls import MAX_CONTEXTS, TlsContexts, default_tls
from runtime.failure import DialError, FailureKind, SocketLost
from runtime.models.options import WebSocketOptions
from runtime.sources import Handshake, TlsMaterial
from tests.dialling import dialer, failure_of, lost
from tests.loops import on_both_loops
from tests.peers import Certificate, behave, listening, make_certificate

pytestmark = pytest.mark.integration
OPTIONS = WebSocketOptions()
PLANTED = "pl4nted"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("client"))


def key_of(certificate: Certificate) -> str:
    return certificate.path.read_text().partition("-----BEGIN CERTIFICATE-----")[0]


async def dial(port: int, host: str = "localhost", **material: str | None):
    handshake = Handshake(tls=TlsMaterial(**material))  # type: ignore[arg-type]
    return await dialer("127.0.0.1").dial(f"wss://{host}:{port}/", OPTIONS, handshake)


@on_both_loops
async def test_a_ca_of_the_options_is_trusted_and_only_that(certificate, ours):
    async with listening(behave, tls=certificate.server()) as peer:
        await (await dial(peer.port, ca=certificate.public)).close(1000, "")
        failure = await failure_of(dial(peer.port, ca=ours.public))
        assert failure.kind is FailureKind.REFUSED
        assert "not trusted" in failure.reason


@on_both_loops
async def test_a_name_of_the_options_is_asked_for_and_checked_instead_of_the_hosts(certificate):
    asked: list[str] = []
    server = certificate.server()
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with listening(behave, tls=server) as peer:
        failure = await failure_of(dial(peer.port, "feed.invalid", ca=certificate.public))
        assert "feed.invalid" in failure.reason
        live = await dial(peer.port, "feed.invalid", ca=certificate.public, server_name="localhost")
        await live.close(1000, "")
        assert asked == ["feed.invalid", "localhost"]


@on_both_loops
async def test_a_server_that_asks_for_a_certificate_gets_ours(certificate, ours):
    server = certificate.server()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=ours.public)
    server.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 the refusal comes after the handshake
    async with listening(behave, tls=server) as peer:
        live = await dial(peer.port, ca=certificate.public, certificate=ours.public, key=key_of(ours))
        await live.close(1000, "")
        failure = await failure_of(dial(peer.port, ca=certificate.public))
        assert failure.kind is FailureKind.TRANSIENT
        assert "TLS failed" in failure.reason or "hung up" in failure.reason


@on_both_loops
async def test_a_server_below_the_minimum_version_is_not_talked_to(certificate):
    server = certificate.server()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening(behave, tls=server) as peer:
        await (await dial(peer.port, ca=certificate.public)).close(1000, "")
        failure = await failure_of(dial(peer.port, ca=certificate.public, minimum_version="1.3"))
        assert failure.kind is FailureKind.TRANSIENT
        assert "TLS failed" in failure.reason or "hung up" in failure.reason  # whichever is seen first


@pytest.mark.parametrize(
    ("material", "what"),
    [
        ({"ca": PLANTED}, "tls.ca"),
        ({"ca": ""}, "tls.ca"),
        ({"certificate": PLANTED, "key": PLANTED}, "tls.certificate with tls.key"),
    ],
)
async def test_what_is_no_pem_is_refused_and_not_quoted(material: dict[str, str], what: str):
    failure = await failure_of(dial(1, **material))
    assert failure.kind is FailureKind.REFUSED
    assert failure.reason == f"{what} cannot be used: not PEM, or not a pair"


async def test_a_key_that_is_not_that_of_the_certificate_is_refused(certificate, ours):
    failure = await failure_of(dial(1, certificate=certificate.public, key=key_of(ours)))
    assert "not a pair" in failure.reason


async def test_a_key_with_a_password_is_refused_without_asking_anybody(ours, tmp_path: Path):
    path = tmp_path / "encrypted.pem"
    command = ["openssl", "pkey", "-in", ours.path, "-aes256", "-passout", "pass:word", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    failure = await failure_of(dial(1, certificate=ours.public, key=path.read_text()))
    assert failure.kind is FailureKind.REFUSED


def test_dials_that_ask_for_nothing_share_one_context_and_equal_options_share_theirs(certificate, ours):
    contexts = TlsContexts()
    assert contexts.context(TlsMaterial(server_name="a.example")) is default_tls()
    one = TlsMaterial(ca=certificate.public)
    other = TlsMaterial(ca=certificate.public, certificate=ours.public, key=key_of(ours))
    assert contexts.context(one) is contexts.context(TlsMaterial(ca=certificate.public, server_name="b.example"))
    assert contexts.context(other) is contexts.context(other)
    distinct = {id(contexts.context(each)) for each in (one, other, TlsMaterial(ca=one.ca, minimum_version="1.3"))}
    assert len(distinct) == 3
    assert id(default_tls()) not in distinct


def test_the_contexts_that_are_kept_are_bounded_and_known_by_no_key(certificate, ours):
    contexts = TlsContexts()
    for number in range(MAX_CONTEXTS + 3):
        contexts.context(TlsMaterial(ca=certificate.public + "\n" * number))
    assert len(contexts._kept) == MAX_CONTEXTS
    contexts.context(TlsMaterial(certificate=ours.public, key=key_of(ours)))
    assert key_of(ours).splitlines()[1] not in repr(contexts._kept)


def test_the_files_of_a_client_certificate_are_gone_afterwards(ours, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    TlsContexts().context(TlsMaterial(certificate=ours.public, key=key_of(ours)))
    with pytest.raises(DialError):
        TlsContexts().context(TlsMaterial(certificate=ours.public, key="x"))
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_refusal_by_tls_1_3_after_the_handshake_is_told_when_it_comes(certificate, ours):
    server = certificate.server()
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=ours.public)
    async with listening(behave, tls=server) as peer:
        with pytest.raises((DialError, SocketLost)) as caught:
            raise await lost(await dial(peer.port, ca=certificate.public))
        assert isinstance(caught.value, DialError | SocketLost)
        assert caught.value.failure.kind is FailureKind.TRANSIENT
