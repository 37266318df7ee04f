"""Wasm modules for tests, assembled from text: proxy-wasm filters (ABI 0.2.1) that mark responses.

`assembled` needs the package wasmtime, whose assembler turns the text format into bytes.
"""

from functools import cache

import wasmtime

_RESPONSE_HEADERS = 2
_CONFIGURATION = 7
"""Numbers of the ABI: the map of response headers, and the buffer of the plugin's configuration."""


def marking(name: str, value: str) -> str:
    """A filter that adds a response header."""
    return _module(
        f'(data (i32.const 16) "{name}") (data (i32.const 512) "{value}")',
        f"""
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $add (i32.const {_RESPONSE_HEADERS}) (i32.const 16) (i32.const {len(name)})
            (i32.const 512) (i32.const {len(value)})))
          (i32.const 0))
        """,
    )


def telling_configuration(name: str) -> str:
    """A filter that adds a response header with its configuration, byte for byte."""
    return _module(
        f'(data (i32.const 16) "{name}")',
        f"""
        (global $size (mut i32) (i32.const 0))
        (func (export "proxy_on_configure") (param $root i32) (param $bytes i32) (result i32)
          (global.set $size (local.get $bytes))
          (drop (call $get (i32.const {_CONFIGURATION}) (i32.const 0) (local.get $bytes)
            (i32.const 1024) (i32.const 1028)))
          (i32.const 1))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
          (drop (call $add (i32.const {_RESPONSE_HEADERS}) (i32.const 16) (i32.const {len(name)})
            (i32.load (i32.const 1024)) (global.get $size)))
          (i32.const 0))
        """,
    )


def counting_bytes() -> str:
    """A network filter that passes everything on."""
    return _module(
        "",
        """
        (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 0))
        """,
    )


def refusing_to_start() -> str:
    """A module that does not accept its configuration."""
    return _module(
        "",
        '(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))',
    )


@cache
def assembled(text: str) -> bytes:
    """The module of a text (WebAssembly, "text format")."""
    return bytes(wasmtime.wat2wasm(text))


def _module(data: str, functions: str) -> str:
    """A module with the memory and exports that every filter needs."""
    return f"""
    (module
      (import "env" "proxy_add_header_map_value"
        (func $add (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_get_buffer_bytes"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (global $heap (mut i32) (i32.const 4096))
      {data}
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "_initialize"))
      (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $heap))
        (global.set $heap (i32.add (global.get $heap)
          (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
        (local.get $at))
      (func (export "proxy_on_context_create") (param i32 i32))
      {functions}
    )
    """
