"""Everything that speaks to Redis: keys, scripts, links, states, index, events, connection."""
