"""ClickHouse for one machine: the real engine (chDB) behind its own native TCP protocol, on loopback only.

Clients use their ordinary driver, as against a server. `README.md` one folder up lists what is not spoken.
"""
