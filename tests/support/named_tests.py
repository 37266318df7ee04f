"""Tests by the names under which documents refer to them."""

import ast
from pathlib import Path


def named_in(path: Path) -> set[str]:
    """Names of the tests of a module, those of classes after the class: `TestClass::test_name`."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found
