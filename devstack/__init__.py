"""A real Apache Kafka and a real PostgreSQL on this machine: no Docker, no root, no Java needed beforehand."""
