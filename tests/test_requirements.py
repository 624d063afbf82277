"""The locks install on the Python that the README promises."""

from __future__ import annotations

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

# `python3` of Debian 12. A lock made with a later patch release may name packages that it refuses.
_DEBIAN_12 = "3.11.2"


def test_every_installed_package_accepts_the_python_of_debian_12() -> None:
    wanted = {one.metadata["Name"]: str(one.metadata.json.get("requires_python", "")) for one in distributions()}

    assert len(wanted) > 100, "the environment of the tests is not installed"
    assert {name: spec for name, spec in wanted.items() if _DEBIAN_12 not in SpecifierSet(spec)} == {}
