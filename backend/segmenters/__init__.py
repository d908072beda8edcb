"""Promptable models behind one small protocol, and kept image embeddings."""
