"""The dbt project as assets.

Does not belong here: SQL, which stands in `azak_dbt`.
"""
