"""The web page: a photo goes in, its avatar comes out, and nothing of either is kept. Needs the extra `web`."""
