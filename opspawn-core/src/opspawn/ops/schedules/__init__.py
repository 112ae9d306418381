"""Schedules: what is submitted when its time comes."""
