"""The broker's services: what each is asked, in how many calls, and when its answer is `Empty`.

Does not belong here: the meaning of a row (`kis.bars` and its sisters), tokens and error codes (`kis.gateway`).
"""
