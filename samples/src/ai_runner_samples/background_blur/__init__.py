"""A person in front of a background that is out of focus, or gone."""
