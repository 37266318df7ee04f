"""Filters of users: Wasm modules and Lua programs (Istio WasmPlugin, TrafficExtension)."""
