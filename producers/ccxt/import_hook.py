"""Imports ccxt without its hundred exchanges: an exchange's class is loaded when it is asked for.

ccxt's packages import every exchange, of which a producer needs one. Imported from here they leave those lines out and
look a missing name up in the module of the same name: 15 MB instead of 75, a tenth of a second instead of one.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")


class _Package(ModuleType):
    """A name stands for the class in the submodule of that name, as where all were imported."""

    def __getattr__(self, name: str) -> object:
        submodule = f"{self.__name__}.{name}"
        try:
            importlib.import_module(submodule)
        except ModuleNotFoundError as error:
            if error.name != submodule:
                raise
            message = f"{self.__name__} has no {name}"
            raise AttributeError(message) from error
        return vars(self)[name]

    def __setattr__(self, name: str, value: object) -> None:
        """The import system puts each submodule here; ccxt's own classes expect the class."""
        own = vars(value).get(name) if isinstance(value, ModuleType) else None
        super().__setattr__(name, own if isinstance(own, type) else value)


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Not the cached bytecode, which is of the whole file."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        tree.body = [statement for statement in tree.body if not _loads_an_exchange(statement, fullname)]
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Package
        super().exec_module(module)


def _loads_an_exchange(statement: ast.stmt, package: str) -> bool:
    return isinstance(statement, ast.ImportFrom) and [statement.module] == [
        f"{package}.{alias.name}" for alias in statement.names
    ]


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Of ccxt's packages; the usual finders know the rest."""
        del target
        spec = PathFinder.find_spec(name, path) if name in _PACKAGES else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


def install() -> None:
    """Before ccxt is imported; where that has happened already, it stays as it is."""
    if "ccxt" not in sys.modules and _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
