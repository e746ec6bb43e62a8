"""Signed hrefs: tokens asked for once and renewed, a login that goes to its host alone, and what is missing else."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
import rasterio

from servers.miniatures import LOGIN, PASSWORD, SESSION, USER, Miniatures, miniatures
from servers.static_catalog import StaticCatalog, static_catalog
from soilscale import retry, storage
from soilscale.catalog import sign, signatures, signing
from soilscale.cube import opening
from soilscale.errors import DataError, RefusedError, ServiceError
from soilscale.storage import s3

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def _forget() -> None:
    signing._session.cache_clear()  # noqa: SLF001 - of another test
    signing._tokens.clear()  # noqa: SLF001
    signing._urls.clear()  # noqa: SLF001


@pytest.fixture
def earthdata(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticCatalog]:
    monkeypatch.setattr(retry, "SERVICE", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NETRC", "/nonexistent")
    monkeypatch.setenv(signing.TOKEN, "tok3n")
    _forget()
    with static_catalog({"/signed/lp/a.tif": b"II*"}) as service:
        service.token = "tok3n"  # noqa: S105 - of a server of this test
        yield service
    signing._session().close()  # noqa: SLF001
    _forget()


def test_without_signing_an_href_stays() -> None:
    assert sign("https://h/a.tif", "none") == "https://h/a.tif"
    assert sign("/data/a.tif", "earthdata") == "/data/a.tif"
    assert sign("s3://lp/a.tif", "earthdata") == "s3://lp/a.tif"


def test_earthdata_signs_with_a_token_and_asks_once(earthdata: StaticCatalog) -> None:
    signed = sign(f"{earthdata.url}/lp/a.tif", "earthdata")
    assert signed == f"{earthdata.url}/signed/lp/a.tif?signature=abc"
    assert "tok3n" not in signed
    count = earthdata.count()
    assert sign(f"{earthdata.url}/lp/a.tif", "earthdata") == signed
    assert earthdata.count() == count


def test_earthdata_without_a_valid_token_says_what_to_do(
    earthdata: StaticCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.TOKEN, "expired")
    with pytest.raises(RefusedError, match=r"https://urs\.earthdata\.nasa\.gov.*EARTHDATA_TOKEN.*netrc") as caught:
        sign(f"{earthdata.url}/lp/a.tif", "earthdata")
    assert "to expired" not in str(caught.value)
    monkeypatch.delenv(signing.TOKEN)
    with pytest.raises(ServiceError, match="EARTHDATA_TOKEN"):
        sign(f"{earthdata.url}/lp/a.tif", "earthdata")


def test_earthdata_faults_are_told_apart(earthdata: StaticCatalog) -> None:
    with pytest.raises(DataError, match=r"/lp/b\.tif does not exist"):
        sign(f"{earthdata.url}/lp/b.tif", "earthdata")
    earthdata.faults["/lp/a.tif"] = [-503]
    with pytest.raises(ServiceError, match=r"cannot be reached.*503"):
        sign(f"{earthdata.url}/lp/a.tif", "earthdata")
    earthdata.faults["/lp/a.tif"] = [503, 502]
    assert sign(f"{earthdata.url}/lp/a.tif", "earthdata").endswith("signature=abc")


def test_earthdata_out_of_reach_is_a_service_error(earthdata: StaticCatalog) -> None:
    with static_catalog() as gone:
        url = gone.url
    with pytest.raises(ServiceError, match=r"signing for Earthdata: .* cannot be reached"):
        sign(f"{url}/a.tif", "earthdata")
    assert earthdata.requests == []


@pytest.mark.parametrize(
    ("href", "sent"),
    [
        ("https://data.lpdaac.earthdatacloud.nasa.gov/a.hdf", True),
        ("https://nasa.gov/a.hdf", True),
        ("http://127.0.0.1:9/a.hdf", True),
        ("https://nasa.gov.example.org/a.hdf", False),
        ("https://notnasa.gov/a.hdf", False),
        ("https://example.org/nasa.gov/a.hdf", False),
    ],
)
def test_the_token_goes_to_nasa_alone(href: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(signing.TOKEN, "tok3n")
    assert bool(signing._bearer(href)) == sent  # noqa: SLF001


def test_a_host_that_sends_the_file_itself_is_granted_the_login(earthdata: StaticCatalog, tmp_path: Path) -> None:
    """As GES DISC: the login goes with every request of GDAL and fsspec for that host, and with none for another."""
    path = tmp_path / "a.tif"
    shape = {"width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=rasterio.Affine(1, 0, 0, 0, -1, 8), **shape):
        pass
    earthdata.direct = True
    earthdata.documents["/disc/a.tif"] = path.read_bytes()
    href = f"{earthdata.url}/disc/a.tif"
    assert sign(href, "earthdata") == href
    assert storage.read_bytes(href) == path.read_bytes()
    assert opening.opened(href, lambda file: file.width) == 8
    assert storage.headers(href) == {"Authorization": "Bearer tok3n"}
    with static_catalog({"/x": b"x"}) as other:
        assert storage.headers(f"{other.url}/x") == {}
        storage.read_bytes(f"{other.url}/x")
        assert other.authorizations == [None]


def test_a_page_in_the_place_of_a_file_is_a_login_that_is_missing(earthdata: StaticCatalog) -> None:
    earthdata.token = None
    earthdata.documents["/lp/a.hdf"] = b"<html>Earthdata Login"
    earthdata.types["/lp/a.hdf"] = "text/html; charset=utf-8"
    with pytest.raises(RefusedError, match="needs an Earthdata login"):
        sign(f"{earthdata.url}/lp/a.hdf", "earthdata")


# --- Earthdata by the login of ~/.netrc -----------------------------------------------------------------------------


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Miniatures]:
    """NASA's hosts in small, and the login of one who has no token."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {LOGIN} login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv(signing.TOKEN, raising=False)
    _forget()
    with miniatures(date(2019, 7, 1), date(2019, 7, 31)) as here:
        yield here
        signing._session().close()  # noqa: SLF001
    _forget()


RAIN = "/gesdisc/GPM_L3/2019/rain.HDF5"
HEAT = "/lp-prod-protected/MOD11A2.061/heat.hdf"


def test_the_login_of_netrc_opens_what_its_host_sends_by_a_cookie(login: Miniatures) -> None:
    """As GES DISC: to the login and back, then every request for the host carries the session, and no password."""
    href = login.file(RAIN, lambda: b"rain" * 1000)
    assert sign(href, "earthdata") == href
    assert login.requests == [RAIN, "/oauth/authorize", "/login", RAIN]
    assert storage.headers(href) == {"Cookie": SESSION}
    assert storage.read_bytes(href) == b"rain" * 1000
    assert storage.read_head(href, 4) == b"rain"
    assert login.count("/oauth/") == 1
    assert sign(login.file(RAIN.replace("rain", "more"), lambda: b"x"), "earthdata")
    assert login.count("/oauth/") == 1, "the session holds for all files of the host"


def test_the_login_of_netrc_leads_to_a_signed_url(login: Miniatures) -> None:
    """As LP DAAC and NSIDC."""
    signed = sign(login.file(HEAT, lambda: b"heat"), "earthdata")
    assert signed.startswith(f"{login.url}/signed{HEAT}?Expires=")
    assert storage.read_bytes(signed) == b"heat"
    assert PASSWORD not in signed


def test_a_wrong_login_of_netrc_says_what_is_missing(
    login: Miniatures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"machine {LOGIN} login {USER} password another\n")
    monkeypatch.setenv("NETRC", str(wrong))
    with pytest.raises(RefusedError, match=r"needs an Earthdata login.*netrc") as caught:
        sign(login.file(HEAT, lambda: b"heat"), "earthdata")
    assert "another" not in str(caught.value)


# --- the Planetary Computer ------------------------------------------------------------------------------------------

BLOB = "https://account.blob.core.windows.net/box/a.tif"


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StaticCatalog]:
    """The Planetary Computer's token service, under its variable PC_SDK_SAS_URL."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(retry, "SERVICE", ())
    _forget()
    with static_catalog() as service:
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{service.url}/token")
        _sas_settings()
        life(service, timedelta(hours=1))
        yield service
    _sas_settings()
    _forget()


def _sas_settings() -> None:
    signing._sas()  # noqa: SLF001 - imports the package without its warnings
    import_module("planetary_computer.settings").Settings.get.cache_clear()


def life(service: StaticCatalog, left: timedelta, signature: str = "abc") -> None:
    """Let the service give a token of so long a life."""
    end = (datetime.now(UTC) + left).isoformat()
    service.documents["/token/account/box"] = {"msft:expiry": end, "token": f"st=1&sig={signature}"}


def test_the_planetary_computer_signs_its_blobs_and_asks_once(tokens: StaticCatalog) -> None:
    assert sign(BLOB, "planetary-computer") == f"{BLOB}?st=1&sig=abc"
    assert sign(BLOB.replace("a.tif", "b.tif"), "planetary-computer").endswith("b.tif?st=1&sig=abc")
    assert sign("https://h/a.tif", "planetary-computer") == "https://h/a.tif"
    assert sign(f"{BLOB}?se=2030&sig=x", "planetary-computer") == f"{BLOB}?se=2030&sig=x"
    assert tokens.requests == ["/token/account/box"]


def test_a_token_that_ends_within_the_run_is_renewed(tokens: StaticCatalog) -> None:
    life(tokens, timedelta(hours=-1), "old")
    assert sign(BLOB, "planetary-computer").endswith("sig=old")
    life(tokens, timedelta(seconds=40), "new")
    assert sign(BLOB, "planetary-computer").endswith("sig=new")
    assert sign(BLOB, "planetary-computer").endswith("sig=new"), "a short life is used, not asked for anew each time"
    assert tokens.count() == 2


def test_a_signature_is_renewed_before_it_ends() -> None:
    for life_, spare in ((timedelta(hours=1), timedelta(minutes=5)), (timedelta(seconds=40), timedelta(seconds=10))):
        end = datetime.now(UTC) + life_
        assert (end - signatures.renewal(end)).total_seconds() == pytest.approx(spare.total_seconds(), abs=0.5)


def _signed(_: int) -> str:
    return sign(BLOB, "planetary-computer")


def test_workers_of_a_machine_share_a_token(tokens: StaticCatalog) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert set(pool.map(_signed, range(8))) == {f"{BLOB}?st=1&sig=abc"}
    assert tokens.count() == 1


def test_what_is_shared_is_for_this_user_alone(tokens: StaticCatalog, tmp_path: Path) -> None:
    _signed(0)
    (folder,) = tmp_path.glob(f"{signatures.FOLDER}-*")
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    _forget()
    _signed(0)
    assert tokens.count() == 2, "a folder that others may write to is not believed"


def test_blobs_of_an_emulator_are_signed_by_one(tokens: StaticCatalog) -> None:
    href = f"{tokens.url}/account/box/a/b.tif"
    assert sign(href, "planetary-computer") == f"{href}?st=1&sig=abc"
    assert sign("http://example.org/account/box/a.tif", "planetary-computer") == "http://example.org/account/box/a.tif"


def test_a_refused_signature_hides_the_query(tokens: StaticCatalog) -> None:
    tokens.faults["/token/account/box"] = [-403]
    with pytest.raises(ServiceError, match=r"Computer: access to https://account\.blob.* is denied") as caught:
        sign(f"{BLOB}?secret=1", "planetary-computer")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("se=2026-01-02T03%3A04%3A05Z&sig=x", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600", datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)),
        ("Expires=1767323045&Signature=x", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("signature=x", None),
        ("se=soon", None),
    ],
)
def test_a_signature_says_when_it_ends(query: str, expected: datetime | None) -> None:
    assert storage.expiry(f"https://h/a.tif?{query}") == expected


def test_an_expired_signature_is_no_refusal() -> None:
    """The unit is tried again, which signs anew; a person need not act."""
    past, future = ("https://h/a.tif?se=2020-01-01T00:00:00Z", "https://h/a.tif?se=2999-01-01T00:00:00Z")
    error = rasterio.errors.RasterioIOError("HTTP response code: 403")
    assert not isinstance(opening.explain(error, past), RefusedError)
    assert isinstance(opening.explain(error, past), ServiceError)
    assert isinstance(opening.explain(error, future), RefusedError)


def test_who_reads_may_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "credentials", lambda: None)
    assert not storage.filesystem("s3://bucket/a")[0].req_kw
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    assert storage.filesystem("s3://bucket/a")[0].req_kw == {"RequestPayer": "requester"}
