"""Signing in to remote servers as a person: OAuth by authorization code with PKCE, and tokens that are kept."""
