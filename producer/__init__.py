"""Publishing feedback events to Kafka: a library (`producer.client`) and a command line (`python -m producer`)."""

import logging

# A library stays silent until the application configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
