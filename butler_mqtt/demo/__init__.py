"""The tour: a broker, the QRS simulator and the daemon at work on this machine; the home of amqtt."""
