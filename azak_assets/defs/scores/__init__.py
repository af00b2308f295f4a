"""What the forecasts were worth.

Does not belong here: the rules of a score (`scoring`), and the KPIs, which are marts.
"""
