"""The dataset release: a folder of all configurations that one can cite, check, and make again to the same bits.

``plan`` what it holds, ``build`` makes it, ``verify`` proves it, ``manifest`` and ``tables`` are its files.
"""
