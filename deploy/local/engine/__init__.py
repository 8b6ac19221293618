"""A local ClickHouse server: the real engine (chDB) behind ClickHouse's native TCP protocol, on loopback only.

Clients use their ordinary driver. `deploy/local/README.md` lists what of the protocol is missing.
"""
