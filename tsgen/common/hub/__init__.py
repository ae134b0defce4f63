"""Releases on the Hugging Face Hub: what a reference names, publishing, and verified downloading.

Every client call goes through :mod:`client`, which turns what may go wrong into one clear line.
"""

from tsgen.common.hub.reference import HubReference, is_reference, parse_reference

__all__ = ["HubReference", "is_reference", "parse_reference"]
