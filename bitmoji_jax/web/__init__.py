"""The web page: turns a photo into its avatar and keeps neither.

With a server (extra `web`), or without one (extra `export`).
"""
