"""What Dagster sees: assets, checks, schedules and sensors, a folder a group; ``definitions`` loads them.

A module here declares and calls; how a thing is done lives in the rooms below. `windows` and `reporting` are what the
groups share. Nothing here speaks SQL or HTTP.
"""
