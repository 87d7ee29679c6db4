"""Pretend neighbours for the demo and the tests. They import nothing else of the adapter.

Each is a plain world object, pure inside: `handle(request, now) -> response`. `shell` puts one behind a socket.
"""
