"""Measurements of the limiter and of the whole product; `README.md` tells what each figure means.

For development only: nothing here is packaged, and nothing outside knows it.
"""
