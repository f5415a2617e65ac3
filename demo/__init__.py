"""The main job seen from outside: real and hostile messages through the whole pipeline, audited from topics and tables.

It never imports the consumer. `audit` and `observe` judge any other run as well.
"""
