"""What would become of an event, told before it is sent. Speaks to nobody."""
