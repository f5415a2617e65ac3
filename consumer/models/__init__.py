"""Which bundles classify: announced on a topic, loaded beside the ones that serve, put in between two windows."""
