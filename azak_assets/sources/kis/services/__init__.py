"""The broker's services: what each is asked, in how many calls, and when its answer is `Empty`."""
