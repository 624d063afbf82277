"""Prepare the cold tier once: the bucket, and the catalog's warehouse in it. `python -m deploy.compose.lakehouse`.

Works with any S3 endpoint and a Lakekeeper catalog; what is there already is left as it is. Wire formats: Lakekeeper's
management API, version 1 (docs.lakekeeper.io). The catalog vends no keys: the offload has its own.
"""

from __future__ import annotations

import sys
from typing import Any

import requests
from pyarrow.fs import S3FileSystem
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.process.retry import retry_for
from config.settings import Settings

TIMEOUT_S = 10.0
RETRY_TIMEOUT_S = 60.0


class LakehouseError(Exception):
    """The bucket or the warehouse could not be made; the message says what to check."""


class ObjectStore(BaseSettings):
    """Where the bucket is and who may write to it: `OBJECT_STORE_…`."""

    model_config = SettingsConfigDict(env_prefix="OBJECT_STORE_", frozen=True, hide_input_in_errors=True)

    endpoint: str = Field(pattern="^https?://[^/]+$")
    region: str = Field(min_length=1)
    bucket: str = Field(pattern="^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    access_key: SecretStr = Field(min_length=3)
    secret_key: SecretStr = Field(min_length=8)


def ensure_bucket(store: ObjectStore) -> None:
    """Make the bucket if it is missing.

    Raises:
        OSError: no answer, or the keys are refused.
    """
    files = S3FileSystem(
        access_key=store.access_key.get_secret_value(),
        secret_key=store.secret_key.get_secret_value(),
        endpoint_override=store.endpoint,
        region=store.region,
        allow_bucket_creation=True,
    )
    files.create_dir(store.bucket, recursive=False)


def warehouse_request(name: str, store: ObjectStore) -> dict[str, Any]:
    """The body of `POST /management/v1/warehouse`."""
    return {
        "warehouse-name": name,
        "storage-profile": {
            "type": "s3",
            "bucket": store.bucket,
            "endpoint": store.endpoint,
            "region": store.region,
            "path-style-access": True,
            "flavor": "s3-compat",
            "sts-enabled": False,
            "remote-signing-enabled": False,
        },
        "storage-credential": {
            "type": "s3",
            "credential-type": "access-key",
            "aws-access-key-id": store.access_key.get_secret_value(),
            "aws-secret-access-key": store.secret_key.get_secret_value(),
        },
        # A cold table is dropped by hand or never; what expires is decided by our own maintenance.
        "delete-profile": {"type": "hard"},
    }


def ensure_warehouse(management: str, name: str, store: ObjectStore) -> None:
    """Bootstrap the catalog and create the warehouse, where they are not there yet.

    Raises:
        LakehouseError: the catalog refused; the message carries its answer.
        requests.RequestException: no answer.
    """
    with requests.Session() as session:
        if not _call(session, "GET", f"{management}/info")["bootstrapped"]:
            _call(session, "POST", f"{management}/bootstrap", {"accept-terms-of-use": True})
        known = _call(session, "GET", f"{management}/warehouse")["warehouses"]
        if name not in {warehouse["name"] for warehouse in known}:
            _call(session, "POST", f"{management}/warehouse", warehouse_request(name, store))


def _call(session: requests.Session, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    response = session.request(method, url, json=body, timeout=TIMEOUT_S)
    if not response.ok:
        raise LakehouseError(f"{method} {url} answered {response.status_code}: {response.text[:500]}")
    return response.json() if response.content else None


def management_address(catalog_uri: str) -> str:
    """`http://host:port/management/v1` of the catalog whose REST address ends in `/catalog`.

    Raises:
        LakehouseError: it does not look like Lakekeeper's address.
    """
    base, found, rest = catalog_uri.rstrip("/").rpartition("/catalog")
    if not (found and base.startswith(("http://", "https://")) and not rest):
        message = (
            f"MEDALLION_ICEBERG_CATALOG_URI is {catalog_uri!r}: give Lakekeeper's, such as http://catalog:8181/catalog"
        )
        raise LakehouseError(message)
    return f"{base}/management/v1"


def prepare(settings: Settings, store: ObjectStore, retry_timeout_s: float = RETRY_TIMEOUT_S) -> None:
    """Bucket and warehouse; tries again for `retry_timeout_s` (s) while one of the two does not answer yet.

    Raises:
        LakehouseError, OSError, requests.RequestException: as `ensure_bucket` and `ensure_warehouse`.
    """
    management = management_address(settings.iceberg_catalog_uri)
    # requests' errors are OSErrors, too.
    attempts = retry_for(retry_timeout_s, (OSError,), first_s=0.2, longest_s=5.0)
    attempts(ensure_bucket, store)
    attempts(ensure_warehouse, management, settings.iceberg_warehouse, store)


def main() -> int:
    """Exit code 1, with what to do next, where the cold tier could not be prepared."""
    try:
        settings, store = Settings(), ObjectStore()  # type: ignore[call-arg]  # the environment has them
        prepare(settings, store)
    except (LakehouseError, OSError, ValidationError) as error:
        sys.stderr.write(f"The cold tier is not ready: {error}\nIs the object store up, and is .env filled in?\n")
        return 1
    sys.stdout.write(f"bucket {store.bucket}, warehouse {settings.iceberg_warehouse}: ready\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
