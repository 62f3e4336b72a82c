"""Systems whose answer is known: each module has `sample(...)` and `exact(...)`."""
