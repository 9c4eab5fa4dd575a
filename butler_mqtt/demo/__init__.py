"""The tour: a broker, a Qlik stand-in and the daemon on this machine, and what they do; the home of amqtt."""
