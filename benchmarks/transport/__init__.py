"""How fast records get through Kafka when the model costs nothing: our engine beside other people's."""
