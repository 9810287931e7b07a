"""The web page: turns a photo into its avatar and keeps neither. Needs the extra `web`."""
