"""From requests to the Qlik tasks they mean."""
