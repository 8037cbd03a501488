"""Requests and answers by name: what people and programs write and read, to arrays and back."""
